/* Packets in software, one call each; cffi releases the GIL around it. ISA-L packs the pages, with
 * the fixed Huffman codes of deflate, as a device does for QEMU; libdeflate unpacks them.
 */

#include <isa-l/igzip_lib.h>
#include <libdeflate.h>
#include <stdlib.h>

#include "payload.h"

#define WINDOW_BITS 12 /* what a device remembers: 4 KiB */

typedef struct {
    struct isal_zstream stream;
    struct isal_hufftables *codes;
} cq_packer;

static cq_packer *cq_packer_new(void)
{
    cq_packer *packer = calloc(1, sizeof *packer);

    if (packer == NULL)
        return NULL;
    isal_deflate_stateless_init(&packer->stream);
    isal_deflate_set_hufftables(&packer->stream, NULL, IGZIP_HUFFTABLE_STATIC);
    packer->codes = packer->stream.hufftables;
    return packer;
}

static void cq_packer_free(cq_packer *packer)
{
    free(packer);
}

/* Pack one page. Returns its length; 0 where it would not be smaller, negative for a failure. */
static int64_t pack_page(cq_packer *packer, const uint8_t *page, uint32_t page_size, uint8_t *output)
{
    struct isal_zstream *stream = &packer->stream;
    int code;

    isal_deflate_stateless_init(stream);
    stream->hufftables = packer->codes;
    stream->hist_bits = WINDOW_BITS;
    stream->end_of_stream = 1;
    stream->next_in = (uint8_t *)page;
    stream->avail_in = page_size;
    stream->next_out = output;
    stream->avail_out = page_size - 1;
    code = isal_deflate_stateless(stream);
    if (code == STATELESS_OVERFLOW)
        return 0;
    return code == COMP_OK ? stream->total_out : code;
}

/* Pack a packet. `payload` has room for the lengths and for all pages as they are. Returns the
 * payload's size, or the negative code of ISA-L's failure.
 */
static int64_t cq_pack(cq_packer *packer, const uint8_t *packet, uint32_t pages,
                       uint32_t page_size, uint8_t *payload)
{
    uint8_t *output = payload + 4 * (size_t)pages;

    for (uint32_t page = 0; page < pages; page++, packet += page_size) {
        int64_t length = pack_page(packer, packet, page_size, output);

        if (length < 0)
            return length;
        if (length == 0) {
            memcpy(output, packet, page_size);
            length = page_size;
        }
        put_length(payload, page, length);
        output += length;
    }
    return output - payload;
}

/* Fill a packet. Returns what is wrong, and with which page. */
static int cq_unpack(struct libdeflate_decompressor *unpacker, const uint8_t *payload, size_t size,
                     uint8_t *packet, uint32_t pages, uint32_t page_size, uint32_t *page)
{
    const uint8_t *input = payload + 4 * (size_t)pages;
    int wrong = check_lengths(payload, size, pages, page_size, page);

    if (wrong)
        return wrong;
    for (*page = 0; *page < pages; ++*page, packet += page_size) {
        uint32_t length = get_length(payload, *page);
        size_t taken, given;

        if (length == page_size) {
            memcpy(packet, input, page_size);
        } else {
            if (libdeflate_deflate_decompress_ex(unpacker, input, length, packet, page_size, &taken,
                                                 &given) != LIBDEFLATE_SUCCESS)
                return CQ_DAMAGED;
            if (given != page_size)
                return CQ_LESS;
            if (taken != length)
                return CQ_LEFT_OVER;
        }
        input += length;
    }
    return CQ_OK;
}
