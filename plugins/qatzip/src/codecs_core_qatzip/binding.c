/* One call a packet. cffi releases the GIL around it, so that copies into the device's memory and
 * the library's own loop over its buffers block no other channel.
 */

#include <qatzip.h>
#include <stdint.h>
#include <string.h>

/* Errors are told by return codes; the library's own lines on stderr add nothing. */
static void cq_silence(void)
{
#if QATZIP_API_VERSION >= 20500
    qzSetLogLevel(LOG_NONE);
#endif
}

/* A call that says so, or that worked with a positive code, was served in software. */
static int in_software(int code, uint64_t extended)
{
    return code > QZ_OK || (extended & (1 << 4)) != 0;
}

/* Compress a packet by way of `input`, which is the device's memory, or where that is NULL from
 * where it is. Returns the code of the call that failed, or 0.
 */
static int cq_compress(QzSession_T *session, const unsigned char *packet, unsigned int size,
                       unsigned char *input, unsigned char *output, unsigned int capacity,
                       unsigned int *written, int *software)
{
    unsigned int done = 0;

    *written = 0;
    *software = 0;
    if (input != NULL) {
        memcpy(input, packet, size);
        packet = input;
    }
    while (done < size) {
        unsigned int taken = size - done, given = capacity - *written;
        uint64_t extended = 0;
        int code = qzCompressExt(session, packet + done, &taken, output + *written, &given, 1,
                                 &extended);
        if (code < QZ_OK)
            return code;
        if (taken == 0 || taken > size - done || given > capacity - *written)
            return QZ_FAIL;
        *software |= in_software(code, extended);
        done += taken;
        *written += given;
    }
    return QZ_OK;
}

/* Decompress a payload by way of `output`, so that the packet is written once it is whole. */
static int cq_decompress(QzSession_T *session, const unsigned char *payload,
                         unsigned int payload_size, unsigned char *input, unsigned char *output,
                         unsigned char *packet, unsigned int size, unsigned int *written,
                         int *software)
{
    unsigned int done = 0;

    *written = 0;
    *software = 0;
    if (input != NULL) {
        memcpy(input, payload, payload_size);
        payload = input;
    }
    while (done < payload_size) {
        unsigned int taken = payload_size - done, given = size - *written;
        uint64_t extended = 0;
        int code = qzDecompressExt(session, payload + done, &taken, output + *written, &given,
                                   &extended);
        if (code < QZ_OK)
            return code;
        if (taken == 0 || taken > payload_size - done || given > size - *written)
            return QZ_DATA_ERROR;
        *software |= in_software(code, extended);
        done += taken;
        *written += given;
    }
    if (*written == size)
        memcpy(packet, output, size);
    return QZ_OK;
}
