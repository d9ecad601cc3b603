/* The declarations that Python sees; read by cffi and included by kernel.c.
 *
 * "offsets" is always the wire's array: big-endian u64 byte offsets of pages in a block, normal
 * pages first. A block's size need not be a multiple of the page size: its last page is padded
 * with zeros where it is read and cut where it is written.
 */
size_t cc_scan(const uint8_t *pages, size_t count, size_t page_size, uint64_t first,
               uint8_t *offsets, uint8_t *gathered);
ptrdiff_t cc_check(const uint8_t *offsets, size_t count, size_t page_size, uint64_t size);
int cc_contiguous(const uint8_t *offsets, size_t count, size_t page_size);
void cc_scatter(uint8_t *base, uint64_t size, const uint8_t *offsets, size_t count,
                size_t page_size, const uint8_t *packet);
void cc_clear(uint8_t *base, uint64_t size, const uint8_t *offsets, size_t count,
              size_t page_size);
int cc_write_pages(int fd, uint64_t size, const uint8_t *offsets, size_t count, size_t page_size,
                   const uint8_t *packet);
int cc_clear_pages(int fd, uint64_t size, const uint8_t *offsets, size_t count,
                   size_t page_size);
