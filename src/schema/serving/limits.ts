import { type JsonBounds, MAX_JSON_DEPTH } from '../../http/json-bounds.ts';

/** What one document may ask for, counted before it is validated. Fragments count where they are spread, too. */
export interface DocumentLimits {
  readonly bytes: number;
  /** Every error counts the lines up to its place, and comments take lines, but are no tokens. */
  readonly lines: number;
  readonly tokens: number;
  /** Brackets of any kind within each other, those of values included. The parser recurses. */
  readonly nesting: number;
  /** Selections within selections, in each operation and fragment. The introspection query that tools send needs 15. */
  readonly depth: number;
  /** Fields of all operations and fragments together. */
  readonly fields: number;
  /** Pairs of selections that make up the same field of the result. Validation compares each pair. */
  readonly pairs: number;
  /** Of the operation that is meant. */
  readonly rootFields: number;
  /** In each operation and fragment. */
  readonly aliases: number;
  /** As `aliases`. */
  readonly directives: number;
  /** As `rootFields`: fields that execution may have to resolve, where those below a page count once per entry. */
  readonly complexity: number;
  /** As `rootFields`: selections of vectors. Each prints all of them, of as many texts as a request has. */
  readonly vectors: number;
}

/** What one WebSocket, and all of one key or address, may take. Times are in milliseconds. */
export interface SocketLimits {
  /** Until `connection_init`. */
  readonly initTimeoutMs: number;
  /** How much may come in before the key is known. */
  readonly bytesBeforeInit: number;
  readonly operations: number;
  /**
   * Messages that may be on their way to a client that goes on sending, beyond one for each operation. Whoever reads
   * what comes leaves none.
   */
  readonly repliesUnread: number;
  /** Characters of JSON. What a ping says is sent back. */
  readonly pingPayload: number;
  readonly perKey: number;
  readonly perAddress: number;
  readonly messagesPerSecond: number;
  readonly messageBurst: number;
  /** How long a message may take from its first byte to its last; as long as a request over HTTP. */
  readonly messageMs: number;
  /** Bytes of messages that a key has begun and not finished. One message is always allowed, however large it may be. */
  readonly unfinishedPerKey: number;
  /** A socket that has not answered one ping when the next is due is gone. */
  readonly pingMs: number;
  /** How long a client may leave a message unread. */
  readonly stallMs: number;
  /** How long a client may take to answer a close. */
  readonly closeMs: number;
}

export interface ServingLimits {
  readonly document: DocumentLimits;
  readonly socket: SocketLimits;
  /** How long the reader of an event stream may leave it unread. */
  readonly stallMs: number;
}

export const DEFAULT_LIMITS: ServingLimits = {
  document: {
    bytes: 16 * 1024,
    lines: 1000,
    tokens: 1000,
    nesting: 100,
    depth: 16,
    fields: 500,
    pairs: 1000,
    rootFields: 20,
    aliases: 50,
    directives: 50,
    complexity: 10_000,
    vectors: 4,
  },
  socket: {
    initTimeoutMs: 3000,
    bytesBeforeInit: 64 * 1024,
    operations: 100,
    repliesUnread: 50,
    pingPayload: 1000,
    perKey: 1000,
    perAddress: 200,
    messagesPerSecond: 100,
    messageBurst: 250,
    messageMs: 120_000,
    unfinishedPerKey: 100 * 1024 * 1024,
    pingMs: 12_000,
    stallMs: 30_000,
    closeMs: 5000,
  },
  stallMs: 30_000,
};

/** Different names in the JSON of one request: the schema has a hundred, the rest is for those of JSON Schemas. */
export const MAX_JSON_NAMES = { count: 2000, bytes: 200 };
/** What a byte takes at most in JSON, as `\u0061`. */
const LONGEST_ESCAPE = 6;

/**
 * What the JSON of a request may hold, known before it is parsed. Its only texts of its own are names and the document.
 * @param envelope levels that are wrapped around it.
 */
export function jsonBounds({ bytes }: Pick<DocumentLimits, 'bytes'>, envelope = 0): JsonBounds {
  return {
    depth: MAX_JSON_DEPTH + envelope,
    names: MAX_JSON_NAMES,
    text: { level: 1 + envelope, bytes: LONGEST_ESCAPE * bytes },
  };
}
