/* A libqpl whose device is played by zlib, for tests of what real devices do too seldom.
 *
 * QPL_DOUBLE is a plan: words of the form CALL@FIRST-LAST=STATUS, each a call (init, submit, wait:
 * of the hardware path; execute: of the software path) that answers STATUS from its FIRST to its
 * LAST time in this process, counted from 1. Everything else succeeds.
 *
 * What a job is told to do is done when it is awaited, and no sooner.
 */

#include <pthread.h>
#include <qpl/qpl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int jobs, flying, most_flying;
static const uint8_t in_flight;

/* The plan's answer to this call. */
static qpl_status answer(const char *call, unsigned int *times)
{
    const char *plan = getenv("QPL_DOUBLE");
    char word[64], name[16];
    unsigned int first, last, now, status;
    int used;

    pthread_mutex_lock(&lock);
    now = ++*times;
    pthread_mutex_unlock(&lock);
    while (plan && sscanf(plan, "%63s%n", word, &used) == 1) {
        plan += used;
        if (sscanf(word, "%15[a-z]@%u-%u=%u", name, &first, &last, &status) == 4 &&
            strcmp(name, call) == 0 && first <= now && now <= last)
            return status;
    }
    return QPL_STS_OK;
}

static void fly(int change)
{
    pthread_mutex_lock(&lock);
    flying += change;
    if (flying > most_flying)
        most_flying = flying;
    pthread_mutex_unlock(&lock);
}

/* Jobs that were not given back. */
int double_outstanding(void)
{
    return jobs;
}

/* How many jobs were at the device at the same time. */
int double_most_flying(void)
{
    return most_flying;
}

const char *qpl_get_library_version(void)
{
    return "double";
}

qpl_status qpl_get_job_size(qpl_path_t path, uint32_t *size)
{
    (void)path;
    *size = sizeof(qpl_job);
    return QPL_STS_OK;
}

qpl_status qpl_init_job(qpl_path_t path, qpl_job *job)
{
    static unsigned int times;
    qpl_status status = path == qpl_path_hardware ? answer("init", &times) : QPL_STS_OK;

    if (status == QPL_STS_OK) {
        memset(job, 0, sizeof *job);
        job->data_ptr.path = path;
        __atomic_add_fetch(&jobs, 1, __ATOMIC_SEQ_CST);
    }
    return status;
}

qpl_status qpl_fini_job(qpl_job *job)
{
    if (job->data_ptr.hw_state_ptr == &in_flight)
        abort();
    __atomic_sub_fetch(&jobs, 1, __ATOMIC_SEQ_CST);
    return QPL_STS_OK;
}

static qpl_status work(qpl_job *job)
{
    z_stream stream = {0};
    int end;

    if (job->flags != (QPL_FLAG_FIRST | QPL_FLAG_LAST | QPL_FLAG_OMIT_VERIFY) || job->level != 1)
        abort();
    stream.next_in = job->next_in_ptr;
    stream.avail_in = job->available_in;
    stream.next_out = job->next_out_ptr;
    stream.avail_out = job->available_out;
    if (job->op == qpl_op_compress) {
        deflateInit2(&stream, 1, Z_DEFLATED, -12, 8, Z_FIXED);
        end = deflate(&stream, Z_FINISH);
        deflateEnd(&stream);
    } else {
        inflateInit2(&stream, -12);
        end = inflate(&stream, Z_FINISH);
        inflateEnd(&stream);
    }
    job->total_in = stream.total_in;
    job->total_out = stream.total_out;
    if (end == Z_STREAM_END)
        return QPL_STS_OK;
    return stream.avail_out == 0 ? QPL_STS_MORE_OUTPUT_NEEDED : QPL_STS_BAD_LL_CODE_ERR;
}

qpl_status qpl_submit_job(qpl_job *job)
{
    static unsigned int times;
    qpl_status status = answer("submit", &times);

    if (job->data_ptr.path != qpl_path_hardware || job->data_ptr.hw_state_ptr == &in_flight)
        abort();
    if (status == QPL_STS_OK) {
        job->data_ptr.hw_state_ptr = (uint8_t *)&in_flight;
        fly(1);
    }
    return status;
}

qpl_status qpl_wait_job(qpl_job *job)
{
    static unsigned int times;
    qpl_status status = answer("wait", &times);

    if (job->data_ptr.hw_state_ptr != &in_flight)
        abort();
    job->data_ptr.hw_state_ptr = NULL;
    fly(-1);
    return status == QPL_STS_OK ? work(job) : status;
}

qpl_status qpl_execute_job(qpl_job *job)
{
    static unsigned int times;
    qpl_status status = answer("execute", &times);

    if (job->data_ptr.path != qpl_path_software)
        abort();
    return status == QPL_STS_OK ? work(job) : status;
}
