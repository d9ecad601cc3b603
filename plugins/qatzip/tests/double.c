/* A libqatzip whose device is played by zlib, for tests of what real devices do too seldom.
 *
 * QATZIP_DOUBLE is a plan: words of the form CALL@FIRST-LAST=CODE, each a call (init, setup,
 * compress, decompress, malloc) that answers CODE from its FIRST to its LAST time in this process,
 * counted from 1. "compress@3-3=software" serves one in software, as told by ext_rc. A malloc that
 * fails has the code 0. Everything else succeeds in "hardware".
 */

#include <pthread.h>
#include <qatzip.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define SOFTWARE 1000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int outstanding;

/* The plan's answer to this call, or `usual`. */
static int answer(const char *call, unsigned int *times, int usual)
{
    const char *plan = getenv("QATZIP_DOUBLE");
    char word[64], name[16], code[16];
    unsigned int first, last, now;
    int used;

    pthread_mutex_lock(&lock);
    now = ++*times;
    pthread_mutex_unlock(&lock);
    while (plan && sscanf(plan, "%63s%n", word, &used) == 1) {
        plan += used;
        if (sscanf(word, "%15[a-z]@%u-%u=%15s", name, &first, &last, code) == 4 &&
            strcmp(name, call) == 0 && first <= now && now <= last)
            return strcmp(code, "software") == 0 ? SOFTWARE : atoi(code);
    }
    return usual;
}

static void count(int change)
{
    pthread_mutex_lock(&lock);
    outstanding += change;
    pthread_mutex_unlock(&lock);
}

/* Sessions and memory that were not given back. */
int double_outstanding(void)
{
    return outstanding;
}

QzLogLevel_T qzSetLogLevel(QzLogLevel_T level)
{
    return level;
}

int qzInit(QzSession_T *session, unsigned char sw_backup)
{
    static unsigned int times;

    (void)session;
    (void)sw_backup;
    return answer("init", &times, QZ_OK);
}

int qzGetDefaultsDeflate(QzSessionParamsDeflate_T *defaults)
{
    memset(defaults, 0, sizeof *defaults);
    defaults->common_params.hw_buff_sz = 65536;
    return QZ_OK;
}

int qzSetupSessionDeflate(QzSession_T *session, QzSessionParamsDeflate_T *params)
{
    static unsigned int times;
    int code = answer("setup", &times, QZ_OK);

    if (code >= 0) {
        session->internal = malloc(sizeof *params);
        memcpy(session->internal, params, sizeof *params);
        session->hw_session_stat = code;
        count(1);
    }
    return code;
}

int qzTeardownSession(QzSession_T *session)
{
    if (session->internal) {
        free(session->internal);
        session->internal = NULL;
        count(-1);
    }
    return QZ_OK;
}

int qzClose(QzSession_T *session)
{
    (void)session;
    return QZ_OK;
}

unsigned int qzMaxCompressedLength(unsigned int size, QzSession_T *session)
{
    (void)session;
    return size + size / 8 + 4096;
}

void *qzMalloc(size_t size, int numa, int pinned)
{
    static unsigned int times;

    (void)numa;
    (void)pinned;
    if (answer("malloc", &times, 1) == 0)
        return NULL;
    count(1);
    return malloc(size);
}

void qzFree(void *memory)
{
    count(-1);
    free(memory);
}

static void put32(unsigned char *at, unsigned long value)
{
    for (int byte = 0; byte < 4; byte++)
        at[byte] = value >> 8 * byte;
}

static unsigned long get32(const unsigned char *at)
{
    return at[0] | at[1] << 8 | at[2] << 16 | (unsigned long)at[3] << 24;
}

int qzCompressExt(QzSession_T *session, const unsigned char *src, unsigned int *src_len,
                  unsigned char *dest, unsigned int *dest_len, unsigned int last,
                  uint64_t *ext_rc)
{
    static const unsigned char head[] = {0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 12, 0, 'Q', 'Z', 8, 0};
    static unsigned int times;
    const QzSessionParamsDeflate_T *params = session->internal;
    unsigned int done = 0, written = 0;
    int code = answer("compress", &times, QZ_OK);

    (void)last;
    if (code < 0) {
        *src_len = *dest_len = 0;
        return code;
    }
    if (code == SOFTWARE)
        *ext_rc |= 1 << 4;
    while (done < *src_len) {
        unsigned int size = *src_len - done;
        z_stream stream = {0};

        if (size > params->common_params.hw_buff_sz)
            size = params->common_params.hw_buff_sz;
        deflateInit2(&stream, params->common_params.comp_lvl, Z_DEFLATED, -15, 8, 0);
        stream.next_in = (unsigned char *)src + done;
        stream.avail_in = size;
        stream.next_out = dest + written + 24;
        stream.avail_out = *dest_len - written - 32;
        if (deflate(&stream, Z_FINISH) != Z_STREAM_END)
            abort();
        memcpy(dest + written, head, sizeof head);
        put32(dest + written + 16, size);
        put32(dest + written + 20, stream.total_out);
        put32(dest + written + 24 + stream.total_out, crc32(0, src + done, size));
        put32(dest + written + 28 + stream.total_out, size);
        written += 32 + stream.total_out;
        done += size;
        deflateEnd(&stream);
    }
    *dest_len = written;
    return code == SOFTWARE ? QZ_OK : code;
}

/* One member a call, as a device with one buffer would: the caller comes again. */
int qzDecompressExt(QzSession_T *session, const unsigned char *src, unsigned int *src_len,
                    unsigned char *dest, unsigned int *dest_len, uint64_t *ext_rc)
{
    static unsigned int times;
    int code = answer("decompress", &times, QZ_OK), end;
    unsigned long taken, given;
    z_stream stream = {0};

    (void)session;
    if (code < 0) {
        *src_len = *dest_len = 0;
        return code;
    }
    if (code == SOFTWARE)
        *ext_rc |= 1 << 4;
    inflateInit2(&stream, -15);
    stream.next_in = (unsigned char *)src + 24;
    stream.avail_in = *src_len - 24;
    stream.next_out = dest;
    stream.avail_out = *dest_len;
    end = inflate(&stream, Z_FINISH);
    taken = stream.total_in;
    given = stream.total_out;
    inflateEnd(&stream);
    if (end != Z_STREAM_END || 32 + taken > *src_len ||
        get32(src + 24 + taken) != crc32(0, dest, given)) {
        *src_len = *dest_len = 0;
        return QZ_DATA_ERROR;
    }
    *src_len = 32 + taken;
    *dest_len = given;
    return code == SOFTWARE ? QZ_OK : code;
}
