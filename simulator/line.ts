import type { Piece } from './answer.ts';
import { hash } from './models.ts';
import type { GenerateRequest } from './request.ts';
import { encodeJson, timestamp } from './wire.ts';

/** What the last line has and no other. Durations in nanoseconds; a field that is undefined is left out. */
export type Metrics = Readonly<Record<string, unknown>>;

export interface LastLine {
  readonly done: boolean;
  readonly doneReason: string | undefined;
  readonly metrics: Metrics;
  /** Only `/api/generate` has it: the tokens of prompt and answer. */
  readonly context?: readonly number[];
}

/**
 * Writes the lines of one answer, in the key order of the wire. What is the same for all of them is encoded once, as
 * this runs for every token.
 */
export class LineEncoder {
  readonly #head: string;
  readonly #isChat: boolean;
  readonly #top: number | undefined;

  constructor(request: GenerateRequest) {
    this.#head = `{"model":${encodeJson(request.model)},"created_at":"`;
    this.#isChat = request.kind === 'chat';
    this.#top = request.logprobs;
  }

  /** A line that is not the last. */
  encode(piece: Piece): string {
    if (this.#top === undefined) return `${this.#open(piece)},"done":false}\n`;
    return `${this.#open(piece)},"done":false${this.#logprobs([piece])}}\n`;
  }

  /** The last line, or the only one. @param logged the pieces whose log probabilities it carries. */
  encodeLast(piece: Piece, last: LastLine, logged: readonly Piece[]): string {
    let line = `${this.#open(piece)},"done":${last.done}`;
    if (last.doneReason !== undefined && last.doneReason !== '') {
      line += `,"done_reason":${encodeJson(last.doneReason)}`;
    }
    if (last.context !== undefined) line += `,"context":${JSON.stringify(last.context)}`;
    const logprobs = this.#logprobs(logged);
    if (this.#isChat) line += logprobs;
    for (const [name, value] of Object.entries(last.metrics)) {
      if (value !== undefined) line += `,"${name}":${encodeJson(value)}`;
    }
    return `${line}${this.#isChat ? '' : logprobs}}\n`;
  }

  #open(piece: Piece): string {
    const head = `${this.#head}${timestamp()}"`;
    const content = piece.content === undefined ? '""' : encodeJson(piece.content);
    const thinking = piece.thinking ? `,"thinking":${encodeJson(piece.thinking)}` : '';
    if (!this.#isChat) return `${head},"response":${content}${thinking}`;
    const calls = piece.calls === undefined ? '' : `,"tool_calls":${encodeJson(piece.calls)}`;
    return `${head},"message":{"role":"assistant","content":${content}${thinking}${calls}}`;
  }

  #logprobs(pieces: readonly Piece[]): string {
    const top = this.#top;
    if (top === undefined) return '';
    const tokens = pieces.flatMap((piece) =>
      [piece.thinking, piece.content].filter((text) => text !== undefined),
    );
    if (tokens.length === 0) return '';
    return `,"logprobs":${encodeJson(tokens.map((token) => logprobOf(token, top)))}`;
  }
}

/** Made up from the token, so that the same token always has the same probability. */
function logprobOf(token: string, top: number) {
  const chosen = entry(token, -(hash(token) % 1000) / 1000);
  if (top === 0) return chosen;
  const others = Array.from({ length: top - 1 }, (_, at) =>
    entry(`${token}~${at + 1}`, chosen.logprob - at - 1),
  );
  return { ...chosen, top_logprobs: [chosen, ...others] };
}

function entry(token: string, logprob: number) {
  return { token, logprob, bytes: [...Buffer.from(token)] };
}
