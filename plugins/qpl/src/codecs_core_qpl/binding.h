/* What Python sees of libqpl: sessions, and one call a packet. */

enum { CQ_OK, CQ_TOO_SHORT, CQ_LENGTH, CQ_SUM, CQ_DAMAGED, CQ_LESS, CQ_LEFT_OVER, ... };

const char *qpl_get_library_version(void);

typedef struct { ...; } cq_session;

cq_session *cq_open(int hardware, uint32_t pages, uint32_t page_size, int *status);
void cq_close(cq_session *session);
int64_t cq_compress(cq_session *session, const uint8_t *packet, uint32_t pages,
                    uint32_t page_size, uint8_t *payload, uint32_t *served);
int64_t cq_decompress(cq_session *session, const uint8_t *payload, size_t size, uint8_t *packet,
                      uint32_t pages, uint32_t page_size, uint32_t *page, uint32_t *served);
