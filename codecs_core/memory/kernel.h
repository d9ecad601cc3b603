/* The declarations that Python sees; read by cffi and included by kernel.c.
 *
 * "offsets" is always the wire's array: big-endian u64 byte offsets of pages in a block, normal
 * pages first. "where" is an array of native u64 page numbers, or NULL for the pages that follow
 * `first`. A block's size need not be a multiple of the page size: its last page is padded with
 * zeros where it is read and cut where it is written.
 */
size_t cc_scan(const uint8_t *pages, size_t count, size_t page_size, uint64_t first,
               const uint64_t *where, uint8_t *offsets, uint8_t *gathered);
void cc_gather(const uint8_t *base, uint64_t size, const uint64_t *where, size_t count,
               size_t page_size, uint8_t *packet);
int cc_read_pages(int fd, uint64_t size, const uint64_t *where, size_t count, size_t page_size,
                  uint8_t *packet);
ptrdiff_t cc_check(const uint8_t *offsets, size_t count, size_t page_size, uint64_t size);
size_t cc_mark(uint8_t *bitmap, const uint8_t *offsets, size_t count, size_t page_size);
int cc_contiguous(const uint8_t *offsets, size_t count, size_t page_size);
void cc_store(uint8_t *base, uint64_t size, const uint8_t *offsets, size_t normal, size_t zero,
              size_t page_size, const uint8_t *packet);
int cc_write_pages(int fd, uint64_t size, const uint8_t *offsets, size_t normal, size_t zero,
                   size_t page_size, const uint8_t *packet);
