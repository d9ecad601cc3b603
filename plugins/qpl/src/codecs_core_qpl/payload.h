/* The payload of method 4: a big-endian u32 length for each page, then the pages behind each other.
 * A length equal to the page size marks a page that is stored as it is.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What is wrong with a payload; Python has the words. */
enum {
    CQ_OK,
    CQ_TOO_SHORT, /* for its array of lengths */
    CQ_LENGTH,    /* a length of zero, or above the page size */
    CQ_SUM,       /* the lengths and the payload differ in size */
    CQ_DAMAGED,   /* a page's stream is no deflate stream, or goes on behind the page */
    CQ_LESS,      /* a page's stream ends before the page */
    CQ_LEFT_OVER, /* a page's stream ends before its length */
};

static inline void put_length(uint8_t *payload, uint32_t page, uint32_t length)
{
    payload += 4 * (size_t)page;
    payload[0] = length >> 24;
    payload[1] = length >> 16;
    payload[2] = length >> 8;
    payload[3] = length;
}

static inline uint32_t get_length(const uint8_t *payload, uint32_t page)
{
    payload += 4 * (size_t)page;
    return (uint32_t)payload[0] << 24 | payload[1] << 16 | payload[2] << 8 | payload[3];
}

/* Hold all lengths against the payload before any page is looked at. `page` is the one to blame. */
static inline int check_lengths(const uint8_t *payload, size_t size, uint32_t pages,
                                uint32_t page_size, uint32_t *page)
{
    uint64_t sum = 4 * (uint64_t)pages;

    if (size < sum)
        return CQ_TOO_SHORT;
    for (*page = 0; *page < pages; ++*page) {
        uint32_t length = get_length(payload, *page);

        if (length == 0 || length > page_size)
            return CQ_LENGTH;
        sum += length;
    }
    return sum == size ? CQ_OK : CQ_SUM;
}
