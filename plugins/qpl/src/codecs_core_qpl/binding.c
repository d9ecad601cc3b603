/* Packets by libqpl, one call each; cffi releases the GIL around it. Jobs are prepared as QEMU
 * prepares them: level 1, a whole stream a page, fixed Huffman codes.
 *
 * On a device every page has a job of its own. All jobs are submitted, then awaited. A page that
 * finds the queues full three times goes to the software path of libqpl.
 */

#include <qpl/qpl.h>
#include <stdlib.h>

#include "payload.h"

#define ATTEMPTS 3
#define JOB_ALIGNMENT 64

typedef struct {
    int hardware;
    uint32_t count;
    qpl_job **jobs; /* one for each page on a device; none in software */
    qpl_job *own;   /* of the software path */
    uint8_t *area;  /* where a device's jobs write compressed pages */
    uint32_t *states;
} cq_session;

static qpl_job *new_job(qpl_path_t path, int *status)
{
    uint32_t size;
    qpl_job *job;

    *status = qpl_get_job_size(path, &size);
    if (*status != QPL_STS_OK)
        return NULL;
    job = aligned_alloc(JOB_ALIGNMENT, (size + JOB_ALIGNMENT - 1) / JOB_ALIGNMENT * JOB_ALIGNMENT);
    if (job == NULL) {
        *status = QPL_STS_NO_MEM_ERR;
        return NULL;
    }
    memset(job, 0, size);
    *status = qpl_init_job(path, job);
    if (*status != QPL_STS_OK) {
        free(job);
        return NULL;
    }
    return job;
}

static void end_job(qpl_job *job)
{
    if (job != NULL) {
        qpl_fini_job(job);
        free(job);
    }
}

static void cq_close(cq_session *session)
{
    for (uint32_t page = 0; session->jobs != NULL && page < session->count; page++)
        end_job(session->jobs[page]);
    end_job(session->own);
    free(session->jobs);
    free(session->area);
    free(session->states);
    free(session);
}

/* A session for packets of up to `pages` pages. NULL where libqpl gives none; `status` says why. */
static cq_session *cq_open(int hardware, uint32_t pages, uint32_t page_size, int *status)
{
    cq_session *session = calloc(1, sizeof *session);

    *status = QPL_STS_NO_MEM_ERR;
    if (session == NULL)
        return NULL;
    session->hardware = hardware;
    session->own = new_job(qpl_path_software, status);
    if (session->own != NULL && hardware) {
        session->jobs = calloc(pages, sizeof *session->jobs);
        session->area = malloc((size_t)pages * page_size);
        session->states = calloc(pages, sizeof *session->states);
        if (session->jobs == NULL || session->area == NULL || session->states == NULL)
            *status = QPL_STS_NO_MEM_ERR;
        else
            memset(session->area, 0, (size_t)pages * page_size);
        while (*status == QPL_STS_OK && session->count < pages) {
            session->jobs[session->count] = new_job(qpl_path_hardware, status);
            session->count += *status == QPL_STS_OK;
        }
    }
    if (*status != QPL_STS_OK) {
        cq_close(session);
        return NULL;
    }
    return session;
}

static void prepare(qpl_job *job, qpl_operation operation, const uint8_t *input,
                    uint32_t input_size, uint8_t *output, uint32_t output_size)
{
    job->op = operation;
    job->level = qpl_level_1;
    job->flags = QPL_FLAG_FIRST | QPL_FLAG_LAST | QPL_FLAG_OMIT_VERIFY;
    job->next_in_ptr = (uint8_t *)input;
    job->available_in = input_size;
    job->next_out_ptr = output;
    job->available_out = output_size;
}

static uint32_t submit(qpl_job *job)
{
    uint32_t status = QPL_STS_QUEUES_ARE_BUSY_ERR;

    for (int attempt = 0; attempt < ATTEMPTS && status == QPL_STS_QUEUES_ARE_BUSY_ERR; attempt++)
        status = qpl_submit_job(job);
    return status;
}

/* Await what was submitted. Every job must be awaited, whatever becomes of the others. */
static void await_all(cq_session *session, uint32_t pages)
{
    for (uint32_t page = 0; page < pages; page++)
        if (session->states[page] == QPL_STS_OK)
            session->states[page] = qpl_wait_job(session->jobs[page]);
}

/* Whether a compressed page has no room in one byte less than a page. */
static int does_not_fit(uint32_t status)
{
    return status == QPL_STS_MORE_OUTPUT_NEEDED || status == QPL_STS_DST_IS_SHORT_ERR;
}

/* Compress a packet. `payload` has room for the lengths and for all pages as they are. `served`
 * counts the pages that a device has judged. Returns the payload's size, or the negative status of
 * libqpl's failure.
 */
static int64_t cq_compress(cq_session *session, const uint8_t *packet, uint32_t pages,
                           uint32_t page_size, uint8_t *payload, uint32_t *served)
{
    uint8_t *output = payload + 4 * (size_t)pages;

    *served = 0;
    if (session->hardware) {
        for (uint32_t page = 0; page < pages; page++) {
            prepare(session->jobs[page], qpl_op_compress, packet + (size_t)page * page_size,
                    page_size, session->area + (size_t)page * page_size, page_size - 1);
            session->states[page] = submit(session->jobs[page]);
        }
        await_all(session, pages);
    }
    for (uint32_t page = 0; page < pages; page++, packet += page_size) {
        uint32_t status, length = page_size;

        if (session->hardware && session->states[page] != QPL_STS_QUEUES_ARE_BUSY_ERR) {
            status = session->states[page];
            length = session->jobs[page]->total_out;
            if (status == QPL_STS_OK && length < page_size)
                memcpy(output, session->area + (size_t)page * page_size, length);
            ++*served;
        } else {
            prepare(session->own, qpl_op_compress, packet, page_size, output, page_size - 1);
            status = qpl_execute_job(session->own);
            length = session->own->total_out;
        }
        if (does_not_fit(status)) {
            memcpy(output, packet, page_size);
            length = page_size;
        } else if (status != QPL_STS_OK) {
            return -(int64_t)status;
        } else if (length == 0 || length >= page_size) {
            return -(int64_t)QPL_STS_LIBRARY_INTERNAL_ERR;
        }
        put_length(payload, page, length);
        output += length;
    }
    return output - payload;
}

/* Fill a packet, each page limited to its own size. Returns what is wrong, and with which page;
 * the negative status of libqpl where that refuses a page.
 */
static int64_t cq_decompress(cq_session *session, const uint8_t *payload, size_t size,
                             uint8_t *packet, uint32_t pages, uint32_t page_size, uint32_t *page,
                             uint32_t *served)
{
    const uint8_t *input = payload + 4 * (size_t)pages;
    int wrong = check_lengths(payload, size, pages, page_size, page);

    *served = 0;
    if (wrong)
        return wrong;
    if (session->hardware) {
        const uint8_t *at = input;

        for (uint32_t each = 0; each < pages; each++) {
            uint32_t length = get_length(payload, each);

            session->states[each] = QPL_STS_JOB_NOT_SUBMITTED;
            if (length < page_size) {
                packet[(size_t)each * page_size] = 0; /* a device's page faults are slow */
                prepare(session->jobs[each], qpl_op_decompress, at, length,
                        packet + (size_t)each * page_size, page_size);
                session->states[each] = submit(session->jobs[each]);
            }
            at += length;
        }
        await_all(session, pages);
    }
    for (*page = 0; *page < pages; ++*page, packet += page_size) {
        uint32_t length = get_length(payload, *page), status = QPL_STS_OK, given = page_size;

        if (length == page_size) {
            memcpy(packet, input, page_size);
            *served += session->hardware;
        } else if (session->hardware && session->states[*page] != QPL_STS_QUEUES_ARE_BUSY_ERR) {
            status = session->states[*page];
            given = session->jobs[*page]->total_out;
            ++*served;
        } else {
            prepare(session->own, qpl_op_decompress, input, length, packet, page_size);
            status = qpl_execute_job(session->own);
            given = session->own->total_out;
        }
        if (status != QPL_STS_OK)
            return -(int64_t)status;
        if (given != page_size)
            return CQ_LESS;
        input += length;
    }
    return CQ_OK;
}
