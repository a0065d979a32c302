import type { ToolCall } from '../../../domain/chat.ts';
import type { GatewayError } from '../../../domain/error.ts';
import type { ChatEvent, Content, Finished, TokenLogprob } from '../../../domain/event.ts';
import { Pieces } from '../../../domain/pieces.ts';
import { encodeJson } from '../../../http/event-stream.ts';
import type { StreamEncoder } from '../../answer.ts';
import { encodeLogprob } from '../response.ts';
import { incomplete } from '../stream.ts';
import {
  encodeCall,
  encodeResponse,
  endStatus,
  type ItemStatus,
  itemId,
  MESSAGE,
  type OutputItem,
  type ResponseForm,
  type ResponseState,
  type TextKind,
  THOUGHTS,
} from './response.ts';

export interface ResponseStreamOptions extends ResponseForm {
  /** As it was asked for: what a response says that fails before its model is known. */
  readonly model: string;
  /** What is known to have no effect before the model starts. */
  readonly warnings: readonly string[];
  /** Seconds since 1970. */
  now(): number;
}

/** An item whose text is coming. */
interface OpenItem {
  readonly kind: TextKind;
  readonly id: string;
  /** Where events are, as members of them. */
  readonly place: string;
  readonly text: Pieces;
  readonly logprobs: TokenLogprob[];
}

/**
 * Events as those of the Responses API: each is named, numbered, and belongs to an item; items begin and end one after
 * the other, and the last event is the whole response.
 */
export class ResponseEncoder implements StreamEncoder<ChatEvent> {
  readonly #options: ResponseStreamOptions;
  readonly #warnings: string[];
  readonly #output: OutputItem[] = [];
  #model: string;
  #sequence = 0;
  #open: OpenItem | undefined;
  /** Of tokens without text: their message has not begun, and may never do. */
  #held: TokenLogprob[] = [];
  #isFinished = false;

  constructor(options: ResponseStreamOptions) {
    this.#options = options;
    this.#warnings = [...options.warnings];
    this.#model = options.model;
  }

  encode(event: ChatEvent): string {
    switch (event.type) {
      case 'queued':
      case 'loading':
        return '';
      case 'started':
        this.#model = event.model;
        this.#warnings.push(...event.warnings);
        return this.#begin();
      case 'content':
        return this.#say(event);
      case 'reasoning':
        return this.#text(THOUGHTS[this.#options.thoughts], event.text);
      case 'toolCall':
        return this.#close('completed') + this.#call(event);
      case 'finished':
        return this.#finish(event);
    }
  }

  end(): string {
    if (!this.#isFinished) throw incomplete();
    return '';
  }

  fail(error: GatewayError): string {
    const begun = this.#sequence === 0 ? this.#begin() : '';
    const broken = this.#open ? [this.#itemOf(this.#open, 'incomplete')] : [];
    const output = [...this.#output, ...broken];
    return begun + this.#frame('response.failed', this.#response({ status: 'failed', output, error }));
  }

  #frame(type: string, members: string): string {
    return `event: ${type}\ndata: {"type":"${type}","sequence_number":${this.#sequence++},${members}}\n\n`;
  }

  /** The response as it stands, as a member of an event. */
  #response(state: Omit<ResponseState, 'model'>): string {
    return `"response":${encodeJson(encodeResponse(this.#options, { ...state, model: this.#model }))}`;
  }

  #begin(): string {
    const response = this.#response({ status: 'in_progress', output: [] });
    return this.#frame('response.created', response) + this.#frame('response.in_progress', response);
  }

  #item(type: 'added' | 'done', index: number, item: OutputItem): string {
    return this.#frame(`response.output_item.${type}`, `"output_index":${index},"item":${encodeJson(item)}`);
  }

  /**
   * Where the backend keeps text to itself that may be a call, its probabilities come alone. They are no message, as the
   * whole answer would have none either, but belong to the one that begins next, if one does.
   */
  #say({ text, logprobs = [] }: Content): string {
    if (text === '' && this.#open?.kind !== MESSAGE) {
      for (const logprob of logprobs) this.#held.push(logprob);
      return '';
    }
    const all = this.#held.length > 0 ? [...this.#held.splice(0), ...logprobs] : logprobs;
    return this.#text(MESSAGE, text, all);
  }

  #text(kind: TextKind, text: string, logprobs?: readonly TokenLogprob[]): string {
    const opening = this.#open?.kind === kind ? '' : this.#close('completed') + this.#openItem(kind);
    const open = this.#open;
    if (!open) return opening;
    open.text.add(text);
    for (const logprob of logprobs ?? []) open.logprobs.push(logprob);
    const rest = kind === MESSAGE ? `,"logprobs":${encodeLogprobs(logprobs ?? [])}` : '';
    const delta = `${open.place},"delta":${encodeJson(text)}${rest}`;
    return opening + this.#frame(`${kind.events.text}.delta`, delta);
  }

  #openItem(kind: TextKind): string {
    const index = this.#output.length;
    const id = itemId(kind.prefix, this.#options, index);
    const place = `"item_id":${encodeJson(id)},"output_index":${index},"${kind.index}":0`;
    this.#open = { kind, id, place, text: new Pieces(), logprobs: [] };
    const part = encodeJson(kind.part('', []));
    return (
      this.#item('added', index, kind.item(id, 'in_progress', [])) +
      this.#frame(`${kind.events.part}.added`, `${place},"part":${part}`)
    );
  }

  /** Ends the item whose text was coming, if there is one. */
  #close(status: ItemStatus): string {
    const open = this.#open;
    if (!open) return '';
    const { kind, place, logprobs } = open;
    const text = open.text.join();
    const item = this.#itemOf(open, status);
    const rest = kind === MESSAGE ? `,"logprobs":${encodeLogprobs(logprobs)}` : '';
    const index = this.#output.push(item) - 1;
    this.#open = undefined;
    return (
      this.#frame(`${kind.events.text}.done`, `${place},"text":${encodeJson(text)}${rest}`) +
      this.#frame(`${kind.events.part}.done`, `${place},"part":${encodeJson(kind.part(text, logprobs))}`) +
      this.#item('done', index, item)
    );
  }

  #itemOf({ kind, id, text, logprobs }: OpenItem, status: ItemStatus): OutputItem {
    return kind.item(id, status, [kind.part(text.join(), logprobs)]);
  }

  #call(call: ToolCall): string {
    this.#held = [];
    const index = this.#output.length;
    const id = itemId('fc', this.#options, index);
    const args = encodeJson(call.arguments);
    const item = encodeCall(id, 'completed', call);
    this.#output.push(item);
    const place = `"item_id":${encodeJson(id)},"output_index":${index}`;
    return (
      this.#item('added', index, encodeCall(id, 'in_progress', { ...call, arguments: '' })) +
      this.#frame('response.function_call_arguments.delta', `${place},"delta":${args}`) +
      this.#frame(
        'response.function_call_arguments.done',
        `${place},"name":${encodeJson(call.name)},"arguments":${args}`,
      ) +
      this.#item('done', index, item)
    );
  }

  #finish({ reasons, usage, timings }: Finished): string {
    const [reason] = reasons;
    const status = reason ? endStatus(reason) : 'completed';
    const thoughts = THOUGHTS[this.#options.thoughts];
    // A model that has only thought has said nothing, which is an answer too.
    const saidNothing = this.#output.length === 0 && (!this.#open || this.#open.kind === thoughts);
    let frames = saidNothing ? this.#text(MESSAGE, '', this.#held) : '';
    frames += this.#close(status);
    const state = { status, output: this.#output, usage, timings, completedAt: this.#options.now() };
    frames += this.#frame(`response.${status}`, this.#response({ ...state, warnings: this.#warnings }));
    this.#isFinished = true;
    return frames;
  }
}

function encodeLogprobs(logprobs: readonly TokenLogprob[]): string {
  return logprobs.length === 0 ? '[]' : encodeJson(logprobs.map(encodeLogprob));
}
