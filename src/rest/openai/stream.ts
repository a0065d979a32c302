import { GatewayError } from '../../domain/error.ts';
import type { ChatEvent, Content, Finished, Started, ToolCallEvent } from '../../domain/event.ts';
import { encodeJson } from '../../http/event-stream.ts';
import type { StreamEncoder } from '../answer.ts';
import { encodeError } from '../errors.ts';
import { DONE, frame } from '../sse.ts';
import { encodeEnding, encodeFinishReason, encodeLogprob, encodeUsage, type Stamp } from './response.ts';

export interface ChunkOptions extends Stamp {
  readonly choices: number;
  readonly includeUsage: boolean;
  /** What is known to have no effect before the model starts. */
  readonly warnings: readonly string[];
}

/** A choice of a chunk without log probabilities and without an end. */
const PLAIN = '"logprobs":null,"finish_reason":null}';

/** What ends every chunk but the last ones, and what comes after the text of a token. */
const ENDS = {
  plain: endsWith(']}'),
  withUsage: endsWith('],"usage":null}'),
};

/**
 * Events as `chat.completion.chunk` frames. A token costs one JSON encoding of its text between two strings that are
 * made once, as this is the hot path of the whole gateway. These are joined: a text that was put together in any other way
 * is a tree to V8, and walked anew for each frame that it becomes a part of.
 */
export class ChatEncoder implements StreamEncoder<ChatEvent> {
  readonly #options: ChunkOptions;
  readonly #ends: (typeof ENDS)['plain'];
  /** What comes before the text of a token, for each choice. Empty until the model is known. */
  readonly #beforeText: string[] = [];
  readonly #warnings: string[];
  #opening = '';
  #isFinished = false;

  constructor(options: ChunkOptions) {
    this.#options = options;
    this.#warnings = [...options.warnings];
    this.#ends = options.includeUsage ? ENDS.withUsage : ENDS.plain;
  }

  encode(event: ChatEvent): string {
    switch (event.type) {
      case 'queued':
      case 'loading':
        return '';
      case 'started':
        return this.#start(event);
      case 'content':
        return this.#content(event);
      case 'reasoning':
        return this.#chunk(event.choice, `{"reasoning_content":${encodeJson(event.text)}}`);
      case 'toolCall':
        return this.#toolCall(event);
      case 'finished':
        return this.#finish(event);
    }
  }

  end(): string {
    if (!this.#isFinished) throw incomplete();
    return DONE;
  }

  fail(error: GatewayError): string {
    return encodeFailure(error);
  }

  #chunk(choice: number, delta: string, rest = PLAIN): string {
    return frame(`${this.#opening}{"index":${choice},"delta":${delta},${rest}${this.#ends.closing}`);
  }

  #start({ model, warnings }: Started): string {
    this.#warnings.push(...warnings);
    const { id, created, choices } = this.#options;
    const stamp = `"id":${encodeJson(id)},"object":"chat.completion.chunk","created":${created}`;
    this.#opening = `{${stamp},"model":${encodeJson(model)},"choices":[`;
    let frames = '';
    for (let choice = 0; choice < choices; choice++) {
      this.#beforeText[choice] = ['data: ', this.#opening, `{"index":${choice},"delta":{"content":`].join('');
      frames += this.#chunk(choice, '{"role":"assistant","content":"","refusal":null}');
    }
    return frames;
  }

  #content({ choice, text, logprobs }: Content): string {
    if (!logprobs) return this.#beforeText[choice] + encodeJson(text) + this.#ends.afterText;
    const encoded = encodeJson({ content: logprobs.map(encodeLogprob), refusal: null });
    return this.#chunk(
      choice,
      `{"content":${encodeJson(text)}}`,
      `"logprobs":${encoded},"finish_reason":null}`,
    );
  }

  /** The name first and the arguments after it: clients take a call's identity from its first chunk only. */
  #toolCall({ choice, index, id, name, arguments: args }: ToolCallEvent): string {
    const first = encodeJson({ index, id, type: 'function', function: { name, arguments: '' } });
    const second = encodeJson({ index, function: { arguments: args } });
    return (
      this.#chunk(choice, `{"tool_calls":[${first}]}`) + this.#chunk(choice, `{"tool_calls":[${second}]}`)
    );
  }

  #finish({ reasons, usage, timings }: Finished): string {
    const { includeUsage } = this.#options;
    const ending = `${encodeEnding(timings, this.#warnings)}}`;
    let frames = '';
    for (const [choice, reason] of reasons.entries()) {
      const end = `"logprobs":null,"finish_reason":"${encodeFinishReason(reason)}"}`;
      const isLast = !includeUsage && choice === reasons.length - 1;
      frames += frame(
        `${this.#opening}{"index":${choice},"delta":{},${end}${isLast ? `],${ending}` : this.#ends.closing}`,
      );
    }
    if (includeUsage) {
      const counts = encodeJson(encodeUsage(usage) ?? null);
      frames += frame(`${this.#opening}],"usage":${counts},${ending}`);
    }
    this.#isFinished = true;
    return frames;
  }
}

function endsWith(closing: string) {
  return { closing, afterText: ['},', PLAIN, closing, '\n\n'].join('') };
}

/** In place of `[DONE]`. */
export function encodeFailure(error: GatewayError): string {
  return frame(encodeJson(encodeError(error)));
}

export function incomplete(): GatewayError {
  return new GatewayError('upstream_incomplete', 'The model stopped before its answer was complete.');
}
