/* Every bound on what untrusted bytes can make Spate hold or do, in one place. Units in the names or comments. */
#ifndef SPATE_BASE_LIMITS_H
#define SPATE_BASE_LIMITS_H

#include <stdint.h>

enum limit {
  /* JSON of any origin */
  LIMIT_JSON_DEPTH = 64,

  /* model files */
  LIMIT_TENSOR_COUNT = 1 << 20,
  LIMIT_TENSOR_DIMS = 6, /* convolutions of vision encoders have 5 */
  LIMIT_TENSOR_NAME_BYTES = 512,
  LIMIT_GGUF_KEYS = 1 << 16,
  LIMIT_GGUF_ARRAY = 1 << 24,                 /* elements of one metadata array */
  LIMIT_SAFETENSORS_HEADER_BYTES = 100 << 20, /* the format's own limit */
  LIMIT_PICKLE_BYTES = 64 << 20,              /* what lists the tensors of a pytorch_model.bin */
  LIMIT_PICKLE_STACK = 1 << 16,               /* values at once; Python writes 1000 items at a time */
  LIMIT_ZIP_ENTRIES = 1 << 20,
  LIMIT_CONFIG_BYTES = 16 << 20, /* config.json, generation_config.json, index files */
  LIMIT_TOKENIZER_BYTES = 128 << 20,
  LIMIT_MODEL_HEADER_MEMORY = 1 << 30, /* what the tensor list and metadata of one model may take */
  LIMIT_MODEL_SHARDS = 1024,           /* files of one model */
  LIMIT_MODEL_LAYERS = 1024,
  LIMIT_MODEL_WIDTH = 1 << 20,     /* hidden, intermediate and vocabulary sizes */
  LIMIT_MODEL_EXPERTS = 4096,      /* matrices of one weight, */
  LIMIT_ROUTE_EXPERTS = 64,        /* and those that a token has */
  LIMIT_MODEL_POSITIONS = 1 << 24, /* tokens of the longest sequence that a network states */
  LIMIT_QUANTIZATION_GROUPS = 8,   /* ways of storing matrices within one quantized checkpoint */

  /* adapters */
  LIMIT_ADAPTERS = 256, /* on a device at once: max_loras */
  LIMIT_ADAPTER_RANK = 1024,
  LIMIT_CPU_LORAS = 1 << 16,     /* max_cpu_loras */
  LIMIT_ADAPTER_NAMES = 1 << 20, /* in one folder */
  LIMIT_ADAPTER_NAME_BYTES = 255,
  LIMIT_ADAPTER_ALIASES = 1 << 16,       /* names that were loaded or unloaded by request */
  LIMIT_ADAPTERS_TOLD = 1000,            /* of /v1/models */
  LIMIT_ADAPTER_MEBIBYTES = 8192,        /* of one in memory */
  LIMIT_ADAPTER_PATTERNS = 1024,         /* of rank_pattern, and of alpha_pattern */
  LIMIT_ADAPTER_PATTERN_BYTES = 512,     /* of one of them */
  LIMIT_ADAPTER_PATTERN_STEPS = 1 << 13, /* of comparing one with a module's name, */
  LIMIT_ADAPTER_MODULE_STEPS = 1 << 19,  /* and all of an adapter: a module takes some milliseconds */

  /* engines */
  LIMIT_BATCH_SIZE = 1024,     /* max_batch_size */
  LIMIT_STEP_TOKENS = 1 << 16, /* max_num_tokens */
  LIMIT_MANIFEST_BYTES = 64 << 20,
  LIMIT_FOLD_BYTES = 1 << 30, /* of what a build has folded into weights */
  LIMIT_BUILD_THREADS = 64,
  LIMIT_CALIBRATION_BYTES = 64 << 20, /* of a text that a build is calibrated with */

  /* evaluations */
  LIMIT_EVAL_TOKENS = 1 << 26,       /* of one text */
  LIMIT_EVAL_LINE_BYTES = 1 << 20,   /* of a task's file of JSON lines */
  LIMIT_EVAL_CHOICES = 26,           /* of one question */
  LIMIT_EVAL_PROMPT_BYTES = 4 << 20, /* of one question with the answered ones before it */
  LIMIT_EVAL_TASK_BYTES = 1 << 30,   /* of all prompts of one task */
  LIMIT_EVAL_ANSWER_BYTES = 1 << 20, /* of one generated answer, and of what it is compared with */
  LIMIT_PLOT_POINTS = 64,

  /* loads that spate bench-serve puts on a server, and what that may answer */
  LIMIT_LOAD_REQUESTS = 1 << 20, /* of one run */
  LIMIT_LOAD_CLIENTS = 1 << 16,
  LIMIT_LOAD_TOKENS = 1 << 20,      /* of a prompt or an answer that is asked for */
  LIMIT_LOAD_SECONDS = 3600,        /* until a request counts as failed */
  LIMIT_LOAD_TRACE_BYTES = 1 << 30, /* of a file of requests */
  LIMIT_LOAD_BODY_BYTES = 64 << 20, /* of one request */
  LIMIT_LOAD_EVENT_BYTES = 4 << 20, /* of one server-sent event */
  LIMIT_LOAD_EVENTS = 1 << 20,      /* of one answer */

  /* what spate doctor reads of a server */
  LIMIT_METRIC_PAGE_BYTES = 8 << 20,
  LIMIT_METRIC_SAMPLES = 1 << 16,
  LIMIT_HEALTH_BYTES = 64 << 10, /* of /health and /ready */
  LIMIT_DOCTOR_SECONDS = 3600,   /* between two looks */

  /* text */
  LIMIT_VOCAB = 1 << 20,
  LIMIT_MERGES = 1 << 22,
  LIMIT_MERGE_PROBES = 1024, /* slots looked at for one; of a full table by chance some 200 */
  LIMIT_TOKEN_BYTES = 1 << 12,
  LIMIT_UNIGRAM_TOKEN_BYTES = 512,    /* each byte of a text may begin as many tokens */
  LIMIT_ADDED_TOKEN_BYTES = 512,      /* of what is looked for at each byte of a text */
  LIMIT_TOKENIZER_STEPS = 32,         /* normalizing and splitting steps of one tokenizer */
  LIMIT_TEXT_CHANGES = 16,            /* replacements in a decoded text as a whole */
  LIMIT_SPELLINGS = 4,                /* of a text in letters of bytes, each as letters of the last one's bytes */
  LIMIT_WORD_CHARS = 1000,            /* of a word that WordPiece looks at */
  LIMIT_PATTERN_BYTES = 16 << 10,     /* of one split regex */
  LIMIT_SPLIT_SECONDS = 3,            /* for splitting a text and all that is done with it meanwhile, or twice that */
  LIMIT_SPLIT_BYTE_NS = 1000,         /* and so much more for each byte that is gone through, and for each match */
  LIMIT_TOKEN_REST_BYTES = 64,        /* of what the end of a text changes of its last token */
  LIMIT_AFFIX_BYTES = 32,             /* of what BPE puts before or behind parts of words */
  LIMIT_NORMALIZED_BYTES = 256 << 20, /* what one text may become by normalizing */
  LIMIT_UNSORTED_MARKS = 256,         /* combining marks on one character; Unicode asks for 30 */
  LIMIT_STOP_STRINGS = 16,
  LIMIT_STOP_BYTES = 256, /* of one stop string or bad word */
  LIMIT_STOP_TOKENS = 64,
  LIMIT_BAD_WORDS = 256,
  LIMIT_LOGIT_BIASES = 1024,
  LIMIT_LOGIT_BIAS = 100, /* either side of 0 */
  LIMIT_TOP_LOGPROBS = 20,
  LIMIT_ALLOWED_TOKENS = 1 << 14,
  LIMIT_REQUEST_PROMPTS = 64,  /* of one HTTP request */
  LIMIT_REQUEST_CHOICES = 128, /* of all its prompts together */
  LIMIT_REQUEST_TEXTS = 1024,  /* that one HTTP request has made into vectors */
  LIMIT_BEAMS = 16,            /* of one beam search */
  LIMIT_LENGTH_PENALTY = 10,   /* either side of 0 */
  LIMIT_NAME_BYTES = 512,      /* of a model's name in a request */
  LIMIT_SALT_BYTES = 128,

  /* chat templates */
  LIMIT_TEMPLATE_BYTES = 1 << 20,         /* of the source */
  LIMIT_TEMPLATE_DEPTH = 300,             /* nested expressions, statements and calls */
  LIMIT_TEMPLATE_STEPS = 1 << 23,         /* of one rendering: nodes evaluated, and bytes or items looked at by 64 */
  LIMIT_TEMPLATE_ITEMS = 100000,          /* of one list: a loop's rounds */
  LIMIT_TEMPLATE_OUTPUT_BYTES = 16 << 20, /* of the output, and of each text made on the way */
  LIMIT_TEMPLATE_MEMORY = 256 << 20,      /* of one rendering */

  /* images */
  LIMIT_IMAGE_BYTES = 20 << 20,        /* of one file */
  LIMIT_IMAGE_SIDE = 1 << 14,          /* pixels */
  LIMIT_IMAGE_PIXELS = 48 << 20,       /* of one, three bytes each */
  LIMIT_IMAGE_SCANS = 100,             /* of a progressive JPEG */
  LIMIT_IMAGE_CHUNK_BYTES = 1 << 20,   /* of a PNG's chunk that is kept */
  LIMIT_IMAGE_SURPLUS_BYTES = 1 << 16, /* of a PNG's packed pixels, beyond what a row takes */
  LIMIT_REQUEST_IMAGES = 64,
  LIMIT_IMAGE_HELPERS = 16,      /* processes that decode */
  LIMIT_HELPER_MEBIBYTES = 1024, /* of memory for one image, the program itself included */
  LIMIT_HELPER_SECONDS = 60,     /* of a processor, for one image */
  LIMIT_HELPER_MS = 60000,       /* the most that one image may be allowed */
  LIMIT_PREPROCESSOR_CONFIG_BYTES = 1 << 20,
  LIMIT_IMAGE_TILES = 256,             /* of one image */
  LIMIT_IMAGE_PINPOINTS = 256,         /* grids that a model may choose from */
  LIMIT_PREPARED_BYTES = 256 << 20,    /* of images that wait to be encoded, beyond which no request is begun */
  LIMIT_REQUEST_PIXEL_BYTES = 1 << 30, /* of one request's, preprocessed; all there are: this and the last together */
  LIMIT_EMBED_ROWS = 1 << 20,          /* of the embedding pool */

  /* images that requests name by their address */
  LIMIT_FETCH_URL_BYTES = 4 << 10,
  LIMIT_FETCH_PREFIXES = 64,       /* addresses that an operator lets images come from */
  LIMIT_FETCH_RANGES = 64,         /* not public ones among them */
  LIMIT_FETCHES_AT_ONCE = 4,       /* of one request; LIMIT_LOOP_THREADS requests of a network loop fetch at once */
  LIMIT_FETCH_SECONDS = 300,       /* the most that a request's images may be waited for */
  LIMIT_FETCHED_BYTES = 256 << 20, /* of requests that fetch, their bodies included, all together */

  /* models from the Hugging Face hub: what it answers, and what is written for it */
  LIMIT_HUB_PAGE_BYTES = 16 << 20,  /* of one answer in JSON */
  LIMIT_HUB_PAGES = 100,            /* of one list of files */
  LIMIT_HUB_FILES = 1 << 16,        /* of one repository */
  LIMIT_HUB_NAMES_BYTES = 32 << 20, /* of all their names */
  LIMIT_HUB_NAME_BYTES = 1024,      /* of one, with its folders */
  LIMIT_HUB_REDIRECTS = 10,         /* of one request */
  LIMIT_HUB_ATTEMPTS = 5,           /* without a new byte, of one request */
  LIMIT_HUB_WAIT_SECONDS = 30,      /* between two of them */
  LIMIT_HUB_TOKEN_BYTES = 1024,
  LIMIT_HUB_STALL_SECONDS = 3600, /* the most that a silent server may be waited for */

  /* spate.yaml */
  LIMIT_SETTINGS_BYTES = 256 << 10, /* of the file, and of all texts in it */

  /* HTTP */
  LIMIT_HEAD_BYTES = 16 << 10,
  LIMIT_HEADERS = 100,
  LIMIT_HEADER_BYTES = 8 << 10, /* of one header line */
  LIMIT_URL_BYTES = 8 << 10,
  LIMIT_BODY_BYTES = 1 << 20,        /* of a text request */
  LIMIT_IMAGE_BODY_BYTES = 64 << 20, /* of a request of a model that sees images, its text included */
  LIMIT_BODIES_BYTES = 256 << 20,    /* of those that are arriving, of all connections together */
  LIMIT_BODY_BYTES_PER_MS = 64,      /* the slowest upload waited for */
  LIMIT_TOKEN_JOB_BYTES = 16 << 20,  /* of bodies of /tokenize and /detokenize that wait, all together */
  LIMIT_CHUNK_EXTENSION_BYTES = 256,
  LIMIT_TRAILER_BYTES = 4 << 10,
  LIMIT_LOOP_THREADS = 16,          /* beside a network loop, of each kind of work that mostly waits */
  LIMIT_LOOK_UPS = 256,             /* of hosts' names under way, those that nobody waits for any more included */
  LIMIT_PIPELINED_BYTES = 64 << 10, /* sent ahead while a request is being answered */
  LIMIT_REFUSED_CONNECTIONS = 256,  /* over the connection limit, being told so */
  LIMIT_TRACE_BYTES = 4 << 20,      /* of one message to a collector of traces */
  LIMIT_STALL_BYTES = 16 << 10,     /* the least that a client takes in the time that a stall may last */
  LIMIT_CONNECTION_OUTPUT_BYTES = 256 << 10,
  LIMIT_TOOL_CALL_BYTES = 1 << 20, /* what a model writes between the marks of calls; more is text */
  LIMIT_TOOL_NAME_BYTES = 127,
  LIMIT_TOOL_CALLS = 128,          /* of an answer, and tools that a request may name */
  LIMIT_RESPONSE_BYTES = 32 << 20, /* waiting for one client */
  LIMIT_ANSWERS_BYTES = 1 << 30,   /* of texts and log-probabilities, waiting for all clients together */

  /* runtime */
  LIMIT_QUEUE_REQUESTS = 4096,
  LIMIT_BATCH_DELAY_MS = 60000,
  LIMIT_TARGET_ITL_MS = 60000,    /* between two tokens */
  LIMIT_TIMEOUT_SECONDS = 86400,  /* of a request, and of a stall */
  LIMIT_INBOX_BYTES = 1 << 20,    /* of events waiting in one inbox */
  LIMIT_QUEUED_BYTES = 256 << 20, /* of prompts and tokens of all requests together */
};

/* Beyond what an int holds. */
#define LIMIT_HUB_FILE_BYTES ((uint64_t)1 << 44) /* of one file of a repository */

#endif
