/* What Python sees of the software backend: one call a packet. */

enum { CQ_OK, CQ_TOO_SHORT, CQ_LENGTH, CQ_SUM, CQ_DAMAGED, CQ_LESS, CQ_LEFT_OVER, ... };

typedef struct { ...; } cq_packer;
struct libdeflate_decompressor;

cq_packer *cq_packer_new(void);
void cq_packer_free(cq_packer *packer);
int64_t cq_pack(cq_packer *packer, const uint8_t *packet, uint32_t pages, uint32_t page_size,
                uint8_t *payload);

struct libdeflate_decompressor *libdeflate_alloc_decompressor(void);
void libdeflate_free_decompressor(struct libdeflate_decompressor *unpacker);
int cq_unpack(struct libdeflate_decompressor *unpacker, const uint8_t *payload, size_t size,
              uint8_t *packet, uint32_t pages, uint32_t page_size, uint32_t *page);
