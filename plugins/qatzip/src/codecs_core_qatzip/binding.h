/* What Python sees: libqatzip's own declarations, and one call a packet. */

#define QATZIP_API_VERSION ...
#define QZ_DEFLATE_GZIP_EXT ...

typedef struct QzSession_S {
    signed long int hw_session_stat;
    ...;
} QzSession_T;

typedef enum { QZ_DYNAMIC_HDR, QZ_STATIC_HDR, ... } QzHuffmanHdr_T;
typedef enum { QZ_DIR_COMPRESS, QZ_DIR_DECOMPRESS, ... } QzDirection_T;
typedef enum { PINNED_MEM, ... } PinMem_T;
typedef int... QzDataFormat_T;

typedef struct QzSessionParamsCommon_S {
    QzDirection_T direction;
    unsigned int comp_lvl;
    unsigned char sw_backup;
    unsigned int hw_buff_sz;
    unsigned int strm_buff_sz;
    unsigned int input_sz_thrshold;
    ...;
} QzSessionParamsCommon_T;

typedef struct QzSessionParamsDeflate_S {
    QzSessionParamsCommon_T common_params;
    QzHuffmanHdr_T huffman_hdr;
    QzDataFormat_T data_fmt;
    ...;
} QzSessionParamsDeflate_T;

int qzInit(QzSession_T *session, unsigned char sw_backup);
int qzGetDefaultsDeflate(QzSessionParamsDeflate_T *defaults);
int qzSetupSessionDeflate(QzSession_T *session, QzSessionParamsDeflate_T *params);
int qzTeardownSession(QzSession_T *session);
int qzClose(QzSession_T *session);
unsigned int qzMaxCompressedLength(unsigned int source_size, QzSession_T *session);
void *qzMalloc(size_t size, int numa, int force_pinned);
void qzFree(void *memory);

void cq_silence(void);
int cq_compress(QzSession_T *session, const unsigned char *packet, unsigned int size,
                unsigned char *input, unsigned char *output, unsigned int capacity,
                unsigned int *written, int *software);
int cq_decompress(QzSession_T *session, const unsigned char *payload, unsigned int payload_size,
                  unsigned char *input, unsigned char *output, unsigned char *packet,
                  unsigned int size, unsigned int *written, int *software);
