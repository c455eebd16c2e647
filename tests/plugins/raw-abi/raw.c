/* A plugin without the SDK, in C99: what the boundary looks like from another language, written by
 * hand from plugin-sdk/src/abi.rs. Where the two differ, one of them has changed unnoticed.
 *
 *     cc -std=c99 -Wall -Wextra -Werror -shared -fPIC -o libraw_abi.so raw.c
 *
 * It counts messages by the first word of their topic. -DLONGER_TABLES makes one of a later day,
 * whose structs go on where version 1 ends: every daemon takes it. Two others say something else:
 *
 *     OBSERVE             the metric is a stat; each message observes the length of its topic
 *     REMOVE              the metric is a latest value; a message sets it, one of a single word removes it
 *
 * One -D of these makes a library that a daemon has to refuse, or survive:
 *
 *     WRONG_MAGIC         the static begins with other bytes
 *     WRONG_ABI           it claims version 99
 *     TRUNCATED_LIBRARY   its size says that it ends before `plugins`
 *     TRUNCATED_PLUGIN    the plugin's size says that it ends before `destroy`
 *     NULL_PLUGINS        one plugin, but no list of plugins
 *     NULL_PLUGIN         a list whose only entry is null
 *     DUPLICATE_ID        two plugins with one id
 *     BAD_UTF8_ID         an id that is no UTF-8
 *     BROKEN_MANIFEST     create and process work, the manifest is half a JSON text
 *     BROKEN_DECLARATION  create says OK and writes half a JSON text
 *     NO_DECLARATION      create says OK and writes nothing
 *     GARBAGE_STATUS      process counts, then returns 7
 *     SILENT_FAILURE      process returns 1 without an error text
 *     SHORT_UPDATE        process makes an update that says it ends before `text`
 *     UNKNOWN_TAG         process makes an update of a kind that version 1 does not know
 *     UNKNOWN_LABEL       its label is the handle of a label value that was never declared
 *     BAD_UTF8_LABEL      its label is no UTF-8
 *     BAD_VALUE           the metric is a latest value, and the value is half a JSON text
 *     NO_MEMBER           the metric is a distinct, and the member is no text
 *     NEGATIVE_WEIGHT     the metric is a top, and the key weighs less than nothing
 *     BAD_UTF8_KEY        the metric is a top, and the key is no UTF-8
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- The boundary ---- */

/* What a later day might add. */
#ifdef LONGER_TABLES
#define LATER_FIELD void *later;
#define LATER_SIZE sizeof(void *)
#else
#define LATER_FIELD
#define LATER_SIZE 0
#endif

typedef struct {
    const uint8_t *ptr; /* null for absence */
    size_t len;
} bytes;

typedef struct {
    void *context;
    void (*write)(void *context, bytes text);
} sink;

typedef uint32_t status;
enum { OK = 0, FAILED = 1, PANICKED = 2 };

typedef struct {
    size_t size;
    bytes topic;
    bytes id;
    int64_t time; /* microseconds since 1970 */
    bytes body;
    const bytes *fields;
    size_t field_count;
} message;

enum { TAG_ADD = 1, TAG_SET = 2, TAG_OBSERVE = 3, TAG_INSERT = 4, TAG_HIT = 5, TAG_REMOVE = 6 };

typedef struct {
    uint32_t size;
    uint32_t tag;
    uint32_t metric;
    uint32_t label_count;
    const bytes *labels;
    int64_t time;
    int64_t number;
    bytes text;
    LATER_FIELD
} update;

typedef struct {
    size_t size;
    void *context;
    void (*update)(void *context, const update *update);
} updates;

typedef struct {
    uint32_t size;
    uint32_t state_version;
    bytes id;
    bytes version;
    status (*manifest)(const sink *out);
    status (*create)(bytes config, void **instance, const sink *out);
    status (*process)(const void *instance, const message *message, const updates *updates, const sink *error);
    void (*destroy)(void *instance);
    LATER_FIELD
} plugin;

typedef struct {
    uint8_t magic[8];
    uint32_t abi;
    uint32_t size;
    bytes sdk;
    const plugin *const *plugins;
    size_t plugin_count;
    LATER_FIELD
} library;

/* C99 has no static assertion; an array of a negative size does as well. */
#define CHECK(name, condition) typedef char check_##name[(condition) ? 1 : -1]
CHECK(bytes, sizeof(void *) != 8 || sizeof(bytes) == 16);
CHECK(sink, sizeof(void *) != 8 || sizeof(sink) == 16);
CHECK(message, sizeof(void *) != 8 || (sizeof(message) == 80 && offsetof(message, fields) == 64));
CHECK(update, sizeof(void *) != 8 || (sizeof(update) == 56 + LATER_SIZE && offsetof(update, text) == 40));
CHECK(updates, sizeof(void *) != 8 || sizeof(updates) == 24);
CHECK(plugin, sizeof(void *) != 8 || (sizeof(plugin) == 72 + LATER_SIZE && offsetof(plugin, manifest) == 40));
CHECK(number, sizeof(double) == sizeof(int64_t));
CHECK(library, sizeof(void *) != 8 || (sizeof(library) == 48 + LATER_SIZE && offsetof(library, plugins) == 32));

/* ---- The plugin ---- */

#define TEXT(literal) {(const uint8_t *)(literal), sizeof(literal) - 1}

#ifdef BROKEN_MANIFEST
#define MANIFEST_JSON "{\"summary\": \"messages by"
#else
#define MANIFEST_JSON \
    "{\"summary\": \"messages by the first word of their topic\"," \
    " \"description\": \"Written in C, without the SDK.\"," \
    " \"config_schema\": {\"type\": \"object\", \"additionalProperties\": false}}"
#endif

#if defined BAD_VALUE
#define KIND_JSON "{\"type\": \"latest\", \"n\": 1}"
#elif defined REMOVE
#define KIND_JSON "{\"type\": \"latest\", \"n\": 1, \"ttl\": \"7d\"}"
#elif defined OBSERVE
#define KIND_JSON "{\"type\": \"stat\"}"
#elif defined NO_MEMBER
#define KIND_JSON "{\"type\": \"distinct\"}"
#elif defined NEGATIVE_WEIGHT || defined BAD_UTF8_KEY
#define KIND_JSON "{\"type\": \"top\", \"k\": 3}"
#else
#define KIND_JSON "{\"type\": \"count\"}"
#endif

#ifdef BROKEN_DECLARATION
#define DECLARATION_JSON "{\"metrics\": [{\"name\": \"messages\", \"kind\""
#else
#define DECLARATION_JSON \
    "{\"metrics\": [{\"name\": \"messages\", \"kind\": " KIND_JSON ", \"dimensions\": [\"word\"]," \
    " \"unit\": \"messages\", \"description\": \"Messages by the first word of their topic.\"," \
    " \"tiers\": \"1s for 2h, 1m for 7d, 1h for 400d, 1d forever\"}]}"
#endif

static const bytes MANIFEST = TEXT(MANIFEST_JSON);
#ifndef NO_DECLARATION
static const bytes DECLARATION = TEXT(DECLARATION_JSON);
#endif
static const bytes TAKES_NO_CONFIG = TEXT(
    "{\"message\": \"this plugin takes no configuration\", \"hint\": \"remove its `config`\"}");

/* What an instance is, is the plugin's own affair. */
typedef struct {
    char mark[8];
} instance_data;

static const char MARK[8] = "raw-abi";

static status manifest(const sink *out)
{
    out->write(out->context, MANIFEST);
    return OK;
}

/* Whether the configuration is absent, null, or an object without keys. */
static int is_empty(bytes config)
{
    static const char *const EMPTY[] = {"", "null", "{}"};
    char squeezed[8];
    size_t len = 0;
    if (config.ptr == NULL)
        return 1;
    for (size_t i = 0; i < config.len; i++) {
        if (strchr(" \t\r\n", config.ptr[i]) != NULL && config.ptr[i] != 0)
            continue;
        if (len + 1 == sizeof squeezed)
            return 0;
        squeezed[len++] = (char)config.ptr[i];
    }
    squeezed[len] = 0;
    for (size_t i = 0; i < sizeof EMPTY / sizeof *EMPTY; i++)
        if (strcmp(squeezed, EMPTY[i]) == 0)
            return 1;
    return 0;
}

static status create(bytes config, void **instance, const sink *out)
{
    instance_data *data;
    if (!is_empty(config)) {
        out->write(out->context, TAKES_NO_CONFIG);
        return FAILED;
    }
    data = malloc(sizeof *data);
    if (data == NULL)
        return FAILED;
    memcpy(data->mark, MARK, sizeof MARK);
    *instance = data;
#ifndef NO_DECLARATION
    out->write(out->context, DECLARATION);
#endif
    return OK;
}

static status process(const void *instance, const message *message, const updates *updates, const sink *error)
{
    static const bytes NOT_MINE = TEXT("{\"message\": \"this instance was not created here\"}");
    static const bytes NONE = {NULL, 0};
    static const bytes EMPTY = TEXT("");
    const instance_data *data = instance;
    const uint8_t *dot;
    bytes word = message->topic;
    update count;

    if (memcmp(data->mark, MARK, sizeof MARK) != 0) {
        error->write(error->context, NOT_MINE);
        return FAILED;
    }
    /* As a label, a null pointer would be a handle. */
    if (word.ptr == NULL)
        word = EMPTY;
    dot = memchr(word.ptr, '.', word.len);
    if (dot != NULL)
        word.len = (size_t)(dot - word.ptr);

    count.size = sizeof count;
    count.tag = TAG_ADD;
    count.metric = 0;
    count.label_count = 1;
    count.labels = &word;
    count.time = message->time;
    count.number = 1;
    count.text = NONE;
#if defined SHORT_UPDATE
    count.size = offsetof(update, text);
#elif defined UNKNOWN_TAG
    count.tag = 1000;
#elif defined UNKNOWN_LABEL
    word.ptr = NULL;
    word.len = 1000000;
#elif defined BAD_UTF8_LABEL
    static const bytes NO_UTF8 = TEXT("\xc3(");
    word = NO_UTF8;
#elif defined BAD_VALUE
    static const bytes HALF = TEXT("{\"half\": ");
    count.tag = TAG_SET;
    count.text = HALF;
#elif defined OBSERVE
    double length = (double)message->topic.len;
    count.tag = TAG_OBSERVE;
    memcpy(&count.number, &length, sizeof count.number);
#elif defined REMOVE
    static const bytes HERE = TEXT("\"here\"");
    count.tag = dot == NULL ? TAG_REMOVE : TAG_SET;
    count.text = dot == NULL ? NONE : HERE;
#elif defined NO_MEMBER
    count.tag = TAG_INSERT;
#elif defined NEGATIVE_WEIGHT
    count.tag = TAG_HIT;
    count.text = word;
    count.number = -1;
#elif defined BAD_UTF8_KEY
    static const bytes NO_UTF8 = TEXT("\xc3(");
    count.tag = TAG_HIT;
    count.text = NO_UTF8;
#endif
    updates->update(updates->context, &count);
#if defined GARBAGE_STATUS
    return 7;
#elif defined SILENT_FAILURE
    return FAILED;
#else
    return OK;
#endif
}

static void destroy(void *instance)
{
    free(instance);
}

/* In some variants nothing leads to it. */
__attribute__((unused)) static const plugin PLUGIN = {
#ifdef TRUNCATED_PLUGIN
    .size = offsetof(plugin, destroy),
#else
    .size = sizeof(plugin),
#endif
    .state_version = 1,
#ifdef BAD_UTF8_ID
    .id = TEXT("raw-\xff\xfe"),
#else
    .id = TEXT("raw-abi"),
#endif
    .version = TEXT("1.2.3"),
    .manifest = manifest,
    .create = create,
    .process = process,
    .destroy = destroy,
};

#ifndef NULL_PLUGINS
static const plugin *const PLUGINS[] = {
#if defined NULL_PLUGIN
    NULL,
#elif defined DUPLICATE_ID
    &PLUGIN, &PLUGIN,
#else
    &PLUGIN,
#endif
};
#endif

const library STATSCACHE_PLUGINS = {
#ifdef WRONG_MAGIC
    .magic = {'s', 't', 'a', 't', 's', 'p', 'l', 'x'},
#else
    .magic = {'s', 't', 'a', 't', 's', 'p', 'l', 'g'},
#endif
#ifdef WRONG_ABI
    .abi = 99,
#else
    .abi = 1,
#endif
#ifdef TRUNCATED_LIBRARY
    .size = offsetof(library, plugins),
#else
    .size = sizeof(library),
#endif
    .sdk = TEXT("none, C"),
#ifdef NULL_PLUGINS
    .plugins = NULL,
    .plugin_count = 1,
#else
    .plugins = PLUGINS,
    .plugin_count = sizeof PLUGINS / sizeof *PLUGINS,
#endif
};
