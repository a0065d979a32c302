import { type ErrorCode, GatewayError } from '../../domain/error.ts';
import { UnreadableResponse } from './response.ts';
import { isWireObject, type WireObject } from './wire.ts';

/**
 * Ollama's failures have no codes, only English, which changes between versions. Each row knows one text and says what
 * it means.
 *
 * An error text can quote the prompt, so nothing of it is passed on or logged but what the row's pattern itself spells
 * out: `match[0]` goes to the detail, and patterns take in no free text.
 */
interface KnownFailure {
  readonly pattern: RegExp;
  readonly code: ErrorCode;
  readonly message: string | ((match: RegExpExecArray, error: WireObject) => string);
  readonly param?: string | ((match: RegExpExecArray, origin: Origin) => string);
  readonly retryAfterMs?: number;
  readonly retryable?: boolean;
}

/** Where a failure comes from. */
export interface Origin {
  /** The backend's label. */
  readonly backend: string;
  /** The request's field that holds the prompt. */
  readonly promptField: 'messages' | 'input';
  /** The answer's header of this name, which Ollama itself never sends, but the cloud behind some models may. */
  readonly retryAfter?: string | undefined;
}

/** Long enough for a model to be unloaded, short enough to be worth waiting for. */
const BUSY_RETRY_MS = 2000;

/** A wait of more than an hour is nothing to tell a caller who can ask another server. */
const LONGEST_RETRY_SECONDS = 3600;

const KNOWN_FAILURES: readonly KnownFailure[] = [
  {
    pattern: /^model(?= ['"].*['"] not found)|^model not found/,
    code: 'model_not_found',
    message: 'The model does not exist on the model server.',
    param: 'model',
  },
  {
    pattern: /^invalid model name|^model is required/,
    code: 'invalid_request',
    message: 'This is not the name of a model.',
    param: 'model',
  },
  {
    pattern:
      /exceed_context_size|(longer than|exceeds?|exceeding) (the )?(available |maximum )?(context|input) (length|size)/i,
    code: 'context_length_exceeded',
    message: contextMessage,
    param: (_match, origin) => origin.promptField,
  },
  {
    pattern: /does not support (tools|thinking|insert|chat|generate|embeddings|vision|images)\b/i,
    code: 'capability_missing',
    message: (match) => `The model does not support ${(match[1] ?? '').toLowerCase()}.`,
    param: (match) => CAPABILITY_PARAMS[(match[1] ?? '').toLowerCase()] ?? 'model',
  },
  {
    pattern: /does not support multimodal requests/,
    code: 'capability_missing',
    message: 'The model does not support images.',
    param: 'messages',
  },
  {
    pattern: /^illegal base64 data at input byte \d+/,
    code: 'invalid_request',
    message: 'An image is not valid base64.',
    param: 'messages',
  },
  {
    pattern: /^option "([a-z_]{1,40})" must be of type ([a-z0-9]{1,20}( of strings)?)/,
    code: 'invalid_request',
    message: (match) => `The option ${match[1]} must be of type ${match[2]}.`,
    param: (match) => match[1] ?? 'options',
  },
  {
    pattern: /^invalid think value/,
    code: 'unsupported_parameter',
    message: 'The model server does not know this reasoning effort.',
    param: 'reasoning_effort',
  },
  {
    pattern: /^top_logprobs must be between \d+ and \d+/,
    code: 'invalid_request',
    message: 'top_logprobs is out of range.',
    param: 'top_logprobs',
  },
  {
    pattern: /^invalid format|failed to parse grammar|invalid json schema/i,
    code: 'invalid_request',
    message: 'The model server cannot hold an answer to this format.',
    param: 'response_format',
  },
  {
    pattern: /^time: (invalid|missing unit in|unknown unit)/,
    code: 'invalid_request',
    message: 'keep_alive must be a number of seconds or a duration such as 5m.',
    param: 'keep_alive',
  },
  {
    pattern: /^server busy/,
    code: 'upstream_busy',
    message: 'The model server has too many requests waiting.',
    retryAfterMs: BUSY_RETRY_MS,
  },
  {
    pattern:
      /^llama(-server| runner) process has terminated(: (exit status \d+|signal: \w+))?|^unable to load full model|may be incompatible with your version|reported out-of-memory|^model requires more system memory( \([\d.]+ \w+\) than is available \([\d.]+ \w+\))?|^timed out waiting for llama/,
    code: 'upstream_failed',
    message: 'The model server could not load the model.',
  },
  {
    pattern: /^an error was encountered while running the model|^model runner has unexpectedly stopped/,
    code: 'upstream_failed',
    message: 'The model server failed while running the model.',
    retryable: true,
  },
];

const CAPABILITY_PARAMS: Readonly<Record<string, string>> = {
  tools: 'tools',
  insert: 'suffix',
  thinking: 'reasoning_effort',
  images: 'messages',
  vision: 'messages',
};

/** A request that the backend refused, by status and body. */
export function decodeFailure(status: number, body: string, origin: Origin): GatewayError {
  let answer: unknown;
  try {
    answer = JSON.parse(body);
  } catch {
    // Unknown paths and methods are answered in plain text, and a proxy in between answers in whatever it likes.
  }
  const known = isWireObject(answer) ? decodeKnown(answer, `status ${status}`, origin) : undefined;
  if (known) return known;
  const detail = `${origin.backend}: status ${status}, ${body.length} characters`;
  // 429 comes from the cloud that some models run in.
  if (status === 503 || status === 429) {
    return new GatewayError('upstream_busy', 'The model server is busy.', {
      detail,
      retryAfterMs: readRetryAfter(origin.retryAfter) ?? BUSY_RETRY_MS,
    });
  }
  if (status === 400 && isWireObject(answer)) {
    return new GatewayError('invalid_request', 'The model server refused the request.', { detail });
  }
  return new GatewayError('upstream_failed', 'The model server failed.', {
    detail,
    retryable: status === 502 || status === 504,
  });
}

/** In milliseconds; undefined where it is not a number of seconds, or none to go by. */
function readRetryAfter(header: Origin['retryAfter']): number | undefined {
  const seconds = header !== undefined && /^\d{1,4}$/.test(header) ? Number(header) : 0;
  return seconds > 0 && seconds <= LONGEST_RETRY_SECONDS ? seconds * 1000 : undefined;
}

/** An `error` in place of a line of the stream, the first one included. */
export function decodeErrorLine(line: WireObject, origin: Origin): GatewayError {
  const known = decodeKnown(line, 'in the stream', origin);
  if (known) return known;
  return new GatewayError('upstream_failed', 'The model server failed while answering.', {
    detail: `${origin.backend}: an unknown error in the stream`,
  });
}

/** Statuses that are no answer of Ollama's API: a redirect, a body in an encoding or of a type nobody asked for. */
export function unexpectedAnswer(detail: string, backend: string): GatewayError {
  return new GatewayError('upstream_failed', 'The model server did not answer as a model server does.', {
    detail: `${backend}: ${detail}`,
  });
}

/**
 * A failure of the connection.
 * @param answered whether the answer had begun, so that what came of it may have been passed on.
 */
export function decodeSocketError(error: Error, answered: boolean, backend: string): GatewayError {
  if (error instanceof GatewayError) return error;
  const code = errorCode(error);
  const detail = `${backend}: ${code}`;
  if (answered) {
    return new GatewayError('upstream_incomplete', 'The answer of the model server broke off.', {
      detail,
      cause: error,
    });
  }
  if (error instanceof UnreadableResponse) {
    return new GatewayError('upstream_incomplete', 'The model server sent an answer that cannot be read.', {
      detail: `${backend}: ${error.message}`,
    });
  }
  return new GatewayError('upstream_unavailable', 'The model server cannot be reached.', {
    detail,
    cause: error,
    retryAfterMs: BUSY_RETRY_MS,
  });
}

/** Whatever waits for a backend that has been silent for long. */
export function abandoned(backend: string): GatewayError {
  return new GatewayError('upstream_unavailable', 'The model server cannot be reached.', {
    detail: `${backend}: silent for too long`,
    retryAfterMs: BUSY_RETRY_MS,
  });
}

const CONNECT_FAILURES: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
]);

/** Whether a failure says that nobody is there, rather than that one exchange went wrong. */
export function isConnectFailure(error: GatewayError): boolean {
  return CONNECT_FAILURES.has(errorCode(error.cause));
}

function errorCode(error: unknown): string {
  if (typeof error !== 'object' || error === null) return '';
  if ('code' in error && typeof error.code === 'string') return error.code;
  return 'name' in error && typeof error.name === 'string' ? error.name : '';
}

function decodeKnown(answer: WireObject, where: string, origin: Origin): GatewayError | undefined {
  const error = unwrap(answer['error']);
  const text = [error['type'], error['message']].filter((part) => typeof part === 'string');
  for (const known of KNOWN_FAILURES) {
    for (const part of text) {
      // The longest known text is far shorter; what follows could only be quoted.
      const match = known.pattern.exec(part.slice(0, 500));
      if (!match) continue;
      const { code, message, param, retryAfterMs, retryable } = known;
      return new GatewayError(code, typeof message === 'string' ? message : message(match, error), {
        detail: `${origin.backend}: ${where}: ${match[0].slice(0, 200)}`,
        ...(param !== undefined && { param: typeof param === 'string' ? param : param(match, origin) }),
        ...(retryAfterMs !== undefined && { retryAfterMs }),
        ...(retryable !== undefined && { retryable }),
      });
    }
  }
  return undefined;
}

/**
 * The innermost error object: Ollama passes on what its own child process answered, as JSON inside the error's string.
 */
function unwrap(error: unknown): WireObject {
  let current: unknown = error;
  for (let depth = 0; depth < 4; depth++) {
    if (isWireObject(current)) {
      if (current['error'] === undefined) return current;
      current = current['error'];
    } else if (typeof current === 'string') {
      const inner = parseObject(current);
      if (!inner) return { message: current };
      current = inner;
    } else break;
  }
  return {};
}

function parseObject(text: string): WireObject | undefined {
  if (!text.startsWith('{')) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isWireObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function contextMessage(_match: RegExpExecArray, error: WireObject): string {
  const { n_prompt_tokens: prompt, n_ctx: context } = error;
  return Number.isInteger(prompt) && Number.isInteger(context)
    ? `The prompt has ${prompt} tokens, and the model's context holds ${context}.`
    : "The prompt is longer than the model's context.";
}
