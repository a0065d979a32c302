import { z } from 'zod';
import type { ImagePart, Message, TextPart, ToolCall } from '../../../domain/chat.ts';
import { ParameterError } from '../../errors.ts';
import { IMAGE_RULE, imageDetail } from '../fields.ts';
import { decodeImage } from '../messages.ts';

const textPart = z.object({ type: z.enum(['input_text', 'output_text']), text: z.string() });
const refusalPart = z.object({ type: z.literal('refusal'), refusal: z.string() });
const imagePart = z
  .object({
    type: z.literal('input_image'),
    image_url: z.string().min(1),
    detail: imageDetail.nullish(),
  })
  .describe(IMAGE_RULE);

const message = z.object({
  type: z.literal('message').optional(),
  role: z.enum(['user', 'assistant', 'system', 'developer']),
  content: z.union([
    z.string(),
    z.array(z.discriminatedUnion('type', [textPart, refusalPart, imagePart])).min(1),
  ]),
});

const functionCall = z.object({
  type: z.literal('function_call'),
  call_id: z.string().min(1),
  name: z.string().min(1),
  arguments: z.string().describe('The JSON text of an object. Anything else is left out, with a warning.'),
});

const functionCallOutput = z.object({
  type: z.literal('function_call_output'),
  call_id: z.string().min(1).describe('That of an earlier `function_call`.'),
  output: z.union([z.string(), z.array(z.discriminatedUnion('type', [textPart, imagePart])).min(1)]),
});

const reasoning = z
  .object({
    type: z.literal('reasoning'),
    summary: z.array(z.object({ type: z.literal('summary_text'), text: z.string() })).nullish(),
    content: z.array(z.object({ type: z.literal('reasoning_text'), text: z.string() })).nullish(),
  })
  .describe('What the model thought, as it was answered: it belongs to the message or the calls after it.');

const itemReference = z
  .object({ type: z.literal('item_reference'), id: z.string() })
  .describe('Refused: nothing is stored that could be referred to.');

export const inputItem = z.discriminatedUnion('type', [
  message,
  functionCall,
  functionCallOutput,
  reasoning,
  itemReference,
]);

type Item = z.output<typeof inputItem>;
type WireMessage = z.output<typeof message>;

/**
 * Items as messages. What of an assistant's turn stands in items of its own (what it thought, said and called) becomes
 * one message again.
 * @throws ParameterError that names the item and field at fault.
 */
export function decodeItems(items: readonly Item[]): Message[] {
  const messages: Message[] = [];
  const callIds = new Set<string>();
  let turn = emptyTurn();
  const endTurn = () => {
    const { content, toolCalls, thoughts } = turn;
    if (hasBegun(turn)) {
      const reasoning = thoughts.join('\n\n');
      messages.push({ role: 'assistant', content, toolCalls, ...(reasoning !== '' && { reasoning }) });
    }
    turn = emptyTurn();
  };
  for (const [index, item] of items.entries()) {
    const at = `input[${index}]`;
    if (item.type === 'function_call') {
      callIds.add(item.call_id);
      turn.toolCalls.push({ id: item.call_id, name: item.name, arguments: item.arguments });
    } else if (item.type === 'reasoning') {
      if (hasBegun(turn)) endTurn();
      turn.thoughts.push(...thoughtsOf(item));
    } else if (item.type === 'function_call_output') {
      endTurn();
      requireCall(callIds, item.call_id, `${at}.call_id`);
      const content = decodeParts(item.output, `${at}.output`);
      messages.push({ role: 'tool', toolCallId: item.call_id, content });
    } else if (item.type === 'item_reference') throw referenceRefused(at);
    else if (item.role === 'assistant') {
      if (hasBegun(turn)) endTurn();
      turn.content.push(...decodeTextOnly(item, at));
    } else {
      endTurn();
      messages.push(decodeMessage(item, at));
    }
  }
  endTurn();
  if (messages.length === 0) throw saysNothing();
  return messages;
}

interface Turn {
  readonly thoughts: string[];
  readonly content: TextPart[];
  readonly toolCalls: ToolCall[];
}

function emptyTurn(): Turn {
  return { thoughts: [], content: [], toolCalls: [] };
}

/** Whether anything was said or called: thoughts come first, and alone they are nothing. */
function hasBegun({ content, toolCalls }: Turn): boolean {
  return content.length + toolCalls.length > 0;
}

/** The thoughts themselves where they are there, and else what stood in for them. */
function thoughtsOf({ content, summary }: Extract<Item, { type: 'reasoning' }>): string[] {
  const parts = content && content.length > 0 ? content : (summary ?? []);
  return parts.map(({ text }) => text);
}

function decodeMessage(item: WireMessage, at: string): Message {
  if (item.role !== 'user') return { role: 'system', content: decodeTextOnly(item, at) };
  return { role: 'user', content: decodeParts(item.content, `${at}.content`) };
}

function decodeParts(content: WireMessage['content'], at: string): (TextPart | ImagePart)[] {
  if (typeof content === 'string') return decodeText(content);
  return content.map((part, index) =>
    part.type === 'input_image'
      ? decodeImage(part.image_url, `${at}[${index}].image_url`)
      : decodeTextPart(part),
  );
}

function decodeTextOnly({ role, content }: WireMessage, at: string): TextPart[] {
  if (typeof content === 'string') return decodeText(content);
  return content.map((part, index) => {
    if (part.type !== 'input_image') return decodeTextPart(part);
    const param = `${at}.content[${index}].type`;
    throw new ParameterError(
      'unsupported_value',
      param,
      `Unsupported value for '${param}': a message of the role '${role}' has no images.`,
    );
  });
}

function decodeText(text: string): TextPart[] {
  return [{ type: 'text', text }];
}

function decodeTextPart(part: z.output<typeof textPart> | z.output<typeof refusalPart>): TextPart {
  return { type: 'text', text: part.type === 'refusal' ? part.refusal : part.text };
}

function requireCall(callIds: ReadonlySet<string>, id: string, param: string): void {
  if (callIds.has(id)) return;
  throw new ParameterError(
    'invalid_value',
    param,
    `Invalid value for '${param}': it answers no earlier function_call.`,
  );
}

/** What was thought is nothing without what came of it. */
function saysNothing(): ParameterError {
  return new ParameterError('invalid_value', 'input', "Invalid value for 'input': it has no message.");
}

function referenceRefused(at: string): ParameterError {
  const param = `${at}.type`;
  return new ParameterError(
    'unsupported_value',
    param,
    `Unsupported value for '${param}': nothing is stored here, so send the item itself, as SDKs do with 'store' false.`,
  );
}
