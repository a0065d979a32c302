/** What is read of an answer, in its order. */
export interface ResponseListener {
  onHead(head: Head): void;
  /** A part of the body: these bytes from `start` to `end`, which are others after the call. */
  onBody(bytes: Buffer, start: number, end: number): void;
  onEnd(): void;
}

export interface Head {
  readonly status: number;
  /** By lower-case name. One that came twice has both values, joined by a comma. */
  readonly headers: Readonly<Record<string, string | undefined>>;
}

/** The bytes of a server are no answer in HTTP/1.1. Says nothing of what they were. */
export class UnreadableResponse extends Error {
  override readonly name = 'UnreadableResponse';
}

/** Of a head, of a chunk's size with its extensions, and of all trailers together. */
const MAX_LINES_BYTES = 16 * 1024;

/** Characters of a chunk's size below 256 MB. */
const MAX_FRAMING_LINE = 7;

const CR = 0x0d;
const LF = 0x0a;
const NOTHING = Buffer.alloc(0);

type ParsedHead = Head & { readonly minor: string };

/** The head that was read last, of any server: they send the same one over and over, but for its date. */
let lastHead: { readonly text: string; readonly head: ParsedHead } | undefined;

type State =
  | 'head'
  | 'fixedBody'
  | 'bodyUntilClose'
  | 'chunkSize'
  | 'chunk'
  | 'chunkEnd'
  | 'trailers'
  | 'done';

/**
 * Reads the answers on one connection, one after the other, in whatever pieces they come (RFC 9112). A server is
 * believed nothing: what is ambiguous, malformed or too long is an UnreadableResponse and never a guess.
 */
export class ResponseParser {
  readonly #listener: ResponseListener;
  #state: State = 'head';
  #bytes: Buffer = NOTHING;
  #at = 0;
  #end = 0;
  /** Where the head begins in these bytes; undefined where it began in others. */
  #headAt: number | undefined;
  #line = '';
  #lines: string[] = [];
  #linesBytes = 0;
  /** Bytes still to come, of the body or of a chunk. */
  #remaining = 0;
  #isPersistent = false;
  #idleMs = Number.POSITIVE_INFINITY;

  constructor(listener: ResponseListener) {
    this.#listener = listener;
  }

  /** Whether the answer is complete. */
  get isDone(): boolean {
    return this.#state === 'done';
  }

  /** Whether the connection is fit for another request once this answer is complete. */
  get isPersistent(): boolean {
    return this.#isPersistent;
  }

  /** How long the server keeps the connection without a request, in milliseconds, where it says so. */
  get idleMs(): number {
    return this.#idleMs;
  }

  /** The next bytes belong to another answer. */
  next(): void {
    this.#become('head');
  }

  /**
   * Reads so many bytes from the start of these.
   * @throws UnreadableResponse
   */
  push(bytes: Buffer, length = bytes.length): void {
    this.#bytes = bytes;
    this.#at = 0;
    this.#end = length;
    this.#headAt = undefined;
    if (this.#state === 'head' && this.#lines.length === 0 && this.#line === '') this.#recogniseHead();
    while (this.#at < length) this.#step();
  }

  /** The server has ended its side of the connection, which completes an answer without a length and no other. */
  end(): void {
    if (this.#state === 'bodyUntilClose') this.#finish();
  }

  #step(): void {
    switch (this.#state) {
      case 'fixedBody':
      case 'chunk':
        this.#passOn();
        return;
      case 'bodyUntilClose':
        this.#listener.onBody(this.#bytes, this.#at, this.#end);
        this.#at = this.#end;
        return;
      case 'done':
        throw new UnreadableResponse('more than the answer');
      default: {
        const line = this.#readLine();
        if (line !== undefined) this.#take(line);
      }
    }
  }

  #take(line: string): void {
    switch (this.#state) {
      case 'head':
        if (line !== '') this.#lines.push(line);
        else {
          const head = parseHead(this.#lines.splice(0));
          if (this.#headAt !== undefined) this.#remember(head, this.#headAt);
          this.#begin(head);
        }
        return;
      case 'chunkSize':
        this.#remaining = parseChunkSize(line);
        this.#become(this.#remaining > 0 ? 'chunk' : 'trailers');
        return;
      case 'chunkEnd':
        if (line !== '') throw new UnreadableResponse('a chunk of another size');
        this.#become('chunkSize');
        return;
      default:
        if (line === '') this.#finish();
    }
  }

  #recogniseHead(): void {
    this.#headAt = this.#at;
    if (!lastHead) return;
    const { text, head } = lastHead;
    const end = this.#at + text.length;
    // Behind the end there may be bytes of something else.
    if (end > this.#end || this.#bytes.toString('latin1', this.#at, end) !== text) return;
    this.#at = end;
    this.#begin(head);
  }

  #remember(head: ParsedHead, start: number): void {
    if (head.status === 200) lastHead = { text: this.#bytes.toString('latin1', start, this.#at), head };
    // After an interim answer another head follows, which begins elsewhere.
    else this.#headAt = undefined;
  }

  #begin(head: ParsedHead): void {
    const { status, headers, minor } = head;
    this.#become('head');
    if (status === 101) throw new UnreadableResponse('another protocol');
    // An interim answer; the one that counts is still to come.
    if (status < 200) return;
    const { 'content-length': length, 'transfer-encoding': coding } = headers;
    if (coding !== undefined && (length !== undefined || !/^chunked$/i.test(coding))) {
      throw new UnreadableResponse('a body of unclear length');
    }
    if (length !== undefined && !/^\d{1,15}$/.test(length)) {
      throw new UnreadableResponse('a length that is not one');
    }
    this.#isPersistent = minor === '1' && !/\bclose\b/i.test(headers['connection'] ?? '');
    const idleSeconds = /\btimeout=(\d{1,6})\b/i.exec(headers['keep-alive'] ?? '')?.[1];
    this.#idleMs = idleSeconds === undefined ? Number.POSITIVE_INFINITY : Number(idleSeconds) * 1000;
    this.#remaining = Number(length ?? 0);
    const isEmpty = status === 204 || status === 304 || (length !== undefined && this.#remaining === 0);
    if (coding !== undefined) this.#become('chunkSize');
    else this.#become(length === undefined ? 'bodyUntilClose' : 'fixedBody');
    this.#listener.onHead(head);
    if (isEmpty) this.#finish();
  }

  #passOn(): void {
    const start = this.#at;
    const end = Math.min(this.#end, start + this.#remaining);
    this.#at = end;
    this.#remaining -= end - start;
    this.#listener.onBody(this.#bytes, start, end);
    if (this.#remaining > 0) return;
    if (this.#state === 'chunk') this.#become('chunkEnd');
    else this.#finish();
  }

  #finish(): void {
    this.#become('done');
    this.#listener.onEnd();
  }

  #become(state: State): void {
    this.#state = state;
    this.#linesBytes = 0;
  }

  /** @returns undefined where its end is still to come. */
  #readLine(): string | undefined {
    const short = this.#readFramingLine();
    if (short !== undefined) return short;
    const end = this.#bytes.subarray(0, this.#end).indexOf(LF, this.#at);
    const until = end < 0 ? this.#end : end;
    this.#linesBytes += until - this.#at;
    if (this.#linesBytes > MAX_LINES_BYTES) throw new UnreadableResponse('a head that is too long');
    const line = this.#line + this.#bytes.toString('latin1', this.#at, until);
    this.#at = until + 1;
    this.#line = end < 0 ? line : '';
    if (this.#state === 'head' && this.#lines.length === 0) requireProtocol(line);
    if (end < 0) return undefined;
    if (!line.endsWith('\r')) throw new UnreadableResponse('a line without its end');
    return line.slice(0, -1);
  }

  /**
   * The lines around a chunk are a few characters, and for these a loop costs less than calls to search and to decode.
   * @returns undefined where it is not as simple as that.
   */
  #readFramingLine(): string | undefined {
    if (this.#line !== '' || (this.#state !== 'chunkSize' && this.#state !== 'chunkEnd')) return undefined;
    const last = Math.min(this.#at + MAX_FRAMING_LINE, this.#end - 2);
    let line = '';
    for (let at = this.#at; at <= last; at++) {
      const byte = this.#bytes[at] ?? 0;
      if (byte === CR && this.#bytes[at + 1] === LF) {
        this.#at = at + 2;
        return line;
      }
      line += String.fromCharCode(byte);
    }
    return undefined;
  }
}

/** Whoever speaks something else may never end a line. */
function requireProtocol(beginning: string): void {
  if (!beginning.startsWith('HTTP/1.'.slice(0, beginning.length))) {
    throw new UnreadableResponse('something else than HTTP/1.1');
  }
}

const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const HEADER_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)$/;

function parseHead([first = '', ...lines]: readonly string[]): ParsedHead {
  const [, minor, status] = STATUS_LINE.exec(first) ?? [];
  if (minor === undefined) throw new UnreadableResponse('a status line that is not one');
  const headers: Record<string, string | undefined> = Object.create(null);
  for (const line of lines) {
    const [, name, value] = HEADER_LINE.exec(line) ?? [];
    if (name === undefined || value === undefined) throw new UnreadableResponse('a header that is not one');
    const key = name.toLowerCase();
    const before = headers[key];
    headers[key] = before === undefined ? value.trimEnd() : `${before}, ${value.trimEnd()}`;
  }
  return { minor, status: Number(status), headers };
}

const CHUNK_SIZE = /^[0-9a-fA-F]{1,8}[ \t]*(?:;|$)/;

/** Of at most eight digits. Extensions mean nothing to anybody. */
function parseChunkSize(line: string): number {
  if (!CHUNK_SIZE.test(line)) throw new UnreadableResponse('a chunk without its size');
  return Number.parseInt(line, 16);
}
