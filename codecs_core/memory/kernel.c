/* One call a packet: zero scan and gather, scatter and clear, for memory and for files.
 *
 * Nothing here allocates, and nothing trusts an offset: cc_check comes first, by contract with
 * the Python side. Functions on files return 0, or the errno of the call that failed.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define MAX_PAGES 4096 /* of a packet; Geometry bounds it */
#define STRIDE 256     /* bytes looked at before an early exit from the zero scan */

static uint64_t load_be64(const uint8_t *p)
{
    uint64_t value;
    memcpy(&value, p, sizeof value);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

static void store_be64(uint8_t *p, uint64_t value)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    memcpy(p, &value, sizeof value);
}

/* Sizes are multiples of STRIDE (pages) or the cut end of a block (the tail loop). */
static int is_zero(const uint8_t *p, size_t size)
{
    size_t i = 0;
    for (; i + STRIDE <= size; i += STRIDE) {
        uint64_t words[STRIDE / 8], any = 0;
        memcpy(words, p + i, STRIDE);
        for (size_t w = 0; w < STRIDE / 8; w++)
            any |= words[w];
        if (any)
            return 0;
    }
    for (; i < size; i++)
        if (p[i])
            return 0;
    return 1;
}

/* How much of the page at offset lies inside the block. */
static size_t inside(uint64_t offset, size_t page_size, uint64_t size)
{
    if (offset >= size)
        return 0;
    return size - offset < page_size ? (size_t)(size - offset) : page_size;
}

/* Write the offsets of count pages: normal pages, then zero pages. Where both kinds occur and `gathered` is given, copy the normal pages there,
 * contiguous (`gathered` may be `pages` itself). Return the number of normal pages. */
size_t cc_scan(const uint8_t *pages, size_t count, size_t page_size, uint64_t first,
               const uint64_t *where, uint8_t *offsets, uint8_t *gathered)
{
    uint64_t zero_map[MAX_PAGES / 64] = {0};
    size_t normal = 0, zero;

#define OFFSET_OF(i) ((where ? where[i] : first + (i)) * page_size)
    if (count > MAX_PAGES)
        return 0;
    for (size_t i = 0; i < count; i++) {
        if (is_zero(pages + i * page_size, page_size))
            zero_map[i / 64] |= (uint64_t)1 << (i % 64);
        else
            store_be64(offsets + 8 * normal++, OFFSET_OF(i));
    }
    if (normal == count)
        return normal;
    zero = normal;
    for (size_t i = 0, to = 0; i < count; i++) {
        if (zero_map[i / 64] >> (i % 64) & 1)
            store_be64(offsets + 8 * zero++, OFFSET_OF(i));
        else if (gathered) {
            uint8_t *target = gathered + to++ * page_size;
            if (target != pages + i * page_size)
                memmove(target, pages + i * page_size, page_size);
        }
    }
    return normal;
#undef OFFSET_OF
}

void cc_gather(const uint8_t *base, uint64_t size, const uint64_t *where, size_t count,
               size_t page_size, uint8_t *packet)
{
    for (size_t i = 0; i < count; i++) {
        size_t length = inside(where[i] * page_size, page_size, size);
        memcpy(packet + i * page_size, base + where[i] * page_size, length);
        memset(packet + i * page_size + length, 0, page_size - length);
    }
}

/* Runs of adjacent pages are read at once. A file that ends before `size` is ENODATA. */
int cc_read_pages(int fd, uint64_t size, const uint64_t *where, size_t count, size_t page_size,
                  uint8_t *packet)
{
    size_t next;
    for (size_t i = 0; i < count; i = next) {
        uint64_t offset = where[i] * page_size, length;
        for (next = i + 1; next < count && where[next] == where[next - 1] + 1;)
            next++;
        length = (next - i) * page_size;
        if (offset + length > size) {
            memset(packet + (size - offset), 0, offset + length - size);
            length = size - offset;
        }
        for (uint64_t done = 0; done < length;) {
            ssize_t got = pread(fd, packet + done, length - done, (off_t)(offset + done));
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                return got ? errno : ENODATA;
            done += (uint64_t)got;
        }
        packet += (next - i) * page_size;
    }
    return 0;
}

/* The index of the first offset that is not page aligned or lies outside the block; -1: none. */
ptrdiff_t cc_check(const uint8_t *offsets, size_t count, size_t page_size, uint64_t size)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t offset = load_be64(offsets + 8 * i);
        if (offset % page_size || offset >= size)
            return (ptrdiff_t)i;
    }
    return -1;
}

/* Set each page's bit, and return how many were clear: the pages seen for the first time. */
size_t cc_mark(uint8_t *bitmap, const uint8_t *offsets, size_t count, size_t page_size)
{
    size_t first = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t page = load_be64(offsets + 8 * i) / page_size;
        uint8_t bit = (uint8_t)(1 << (page & 7));
        first += !(bitmap[page >> 3] & bit);
        bitmap[page >> 3] |= bit;
    }
    return first;
}

int cc_contiguous(const uint8_t *offsets, size_t count, size_t page_size)
{
    uint64_t first = count ? load_be64(offsets) : 0;
    for (size_t i = 1; i < count; i++)
        if (load_be64(offsets + 8 * i) != first + i * page_size)
            return 0;
    return 1;
}

/* Put the normal pages of a packet where they belong, and clear the zero pages. A packet that
 * was decoded in place is left where it is. Reading before clearing keeps untouched memory
 * untouched: a zero page that is zero already costs no page of RAM. */
void cc_store(uint8_t *base, uint64_t size, const uint8_t *offsets, size_t normal, size_t zero,
              size_t page_size, const uint8_t *packet)
{
    for (size_t i = 0; i < normal; i++) {
        uint64_t offset = load_be64(offsets + 8 * i);
        const uint8_t *page = packet + i * page_size;
        if (page != base + offset)
            memcpy(base + offset, page, inside(offset, page_size, size));
    }
    for (size_t i = normal; i < normal + zero; i++) {
        uint64_t offset = load_be64(offsets + 8 * i);
        size_t length = inside(offset, page_size, size);
        if (!is_zero(base + offset, length))
            memset(base + offset, 0, length);
    }
}

/* The length of the run of adjacent pages that begins at index i, cut at the block's end. */
static uint64_t run_from(const uint8_t *offsets, size_t i, size_t count, size_t page_size,
                         uint64_t size, size_t *next)
{
    uint64_t start = load_be64(offsets + 8 * i), end = start + page_size;
    for (*next = i + 1; *next < count && load_be64(offsets + 8 * *next) == end; ++*next)
        end += page_size;
    return (end < size ? end : size) - start;
}

static int write_all(int fd, const uint8_t *data, uint64_t length, uint64_t offset)
{
    while (length) {
        ssize_t written = pwrite(fd, data, length, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written ? errno : EIO;
        data += written;
        offset += (uint64_t)written;
        length -= (uint64_t)written;
    }
    return 0;
}

/* Holes stay holes; what holds data is punched, or zeroed where the file system cannot. */
static int clear_run(int fd, uint64_t offset, uint64_t length)
{
    static const uint8_t zeros[65536];
    off_t data = lseek(fd, (off_t)offset, SEEK_DATA);

    if (data < 0 ? errno == ENXIO : (uint64_t)data >= offset + length)
        return 0;
    if (!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length))
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return errno;
    while (length) {
        uint64_t chunk = length < sizeof zeros ? length : sizeof zeros;
        int error = write_all(fd, zeros, chunk, offset);
        if (error)
            return error;
        offset += chunk;
        length -= chunk;
    }
    return 0;
}

/* cc_store for a file: a write a run of adjacent normal pages, a clearing a run of zero pages. */
int cc_write_pages(int fd, uint64_t size, const uint8_t *offsets, size_t normal, size_t zero,
                   size_t page_size, const uint8_t *packet)
{
    size_t count = normal + zero, next;
    for (size_t i = 0; i < count; i = next) {
        size_t limit = i < normal ? normal : count;
        uint64_t length = run_from(offsets, i, limit, page_size, size, &next);
        uint64_t offset = load_be64(offsets + 8 * i);
        int error = i < normal ? write_all(fd, packet + i * page_size, length, offset)
                               : clear_run(fd, offset, length);
        if (error)
            return error;
    }
    return 0;
}
