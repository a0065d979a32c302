import { z } from 'zod';
import type { ImagePart, Message, TextPart } from '../../domain/chat.ts';
import { GatewayError } from '../../domain/error.ts';
import { parseDataUri } from '../../domain/image.ts';
import { ParameterError } from '../errors.ts';
import { IMAGE_RULE, imageDetail } from './fields.ts';

const textPart = z.object({ type: z.literal('text'), text: z.string() });

const imagePart = z
  .object({
    type: z.literal('image_url'),
    image_url: z.object({
      url: z.string().min(1),
      detail: imageDetail.nullish(),
    }),
  })
  .describe(IMAGE_RULE);

const textContent = z.union([z.string(), z.array(textPart).min(1)]);
const name = z.string().nullish();

const instructionMessage = (role: 'system' | 'developer') =>
  z.object({ role: z.literal(role), content: textContent, name });

const userMessage = z.object({
  role: z.literal('user'),
  content: z.union([z.string(), z.array(z.discriminatedUnion('type', [textPart, imagePart])).min(1)]),
  name,
});

const toolCall = z.object({
  id: z.string().min(1),
  type: z.literal('function'),
  function: z.object({
    name: z.string().min(1),
    arguments: z.string().describe('The JSON text of an object. Anything else is left out, with a warning.'),
  }),
});

const refusalPart = z.object({ type: z.literal('refusal'), refusal: z.string() });

const assistantMessage = z.object({
  role: z.literal('assistant'),
  content: z
    .union([z.string(), z.array(z.discriminatedUnion('type', [textPart, refusalPart])).min(1)])
    .nullish(),
  refusal: z.string().nullish(),
  reasoning_content: z.string().nullish().describe('Extension: what the model thought, as it was answered.'),
  reasoning: z.string().nullish().describe('Extension: another name of `reasoning_content`.'),
  tool_calls: z.array(toolCall).nullish(),
  function_call: z.unknown().optional().describe('Refused: use `tool_calls`.'),
  audio: z.unknown().optional().describe('Refused: audio is not supported.'),
  name,
});

const toolMessage = z.object({
  role: z.literal('tool'),
  tool_call_id: z.string().min(1).describe('The id of a call in an earlier assistant message.'),
  content: textContent,
});

export const chatMessage = z.discriminatedUnion('role', [
  instructionMessage('developer'),
  instructionMessage('system'),
  userMessage,
  assistantMessage,
  toolMessage,
]);

type WireMessage = z.output<typeof chatMessage>;
type WireAssistant = z.output<typeof assistantMessage>;

/** @throws ParameterError or GatewayError that names the message and field at fault. */
export function decodeMessages(messages: readonly WireMessage[]): Message[] {
  const callIds = new Set<string>();
  return messages.map((message, index) => decodeMessage(message, `messages[${index}]`, callIds));
}

/** @param callIds the calls that a tool message may answer; an assistant message adds its own. */
function decodeMessage(message: WireMessage, at: string, callIds: Set<string>): Message {
  if (message.role === 'user') {
    return { role: 'user', content: decodeParts(message.content, `${at}.content`) };
  }
  if (message.role === 'assistant') {
    const decoded = decodeAssistant(message, at);
    for (const { id } of decoded.toolCalls) callIds.add(id);
    return decoded;
  }
  if (message.role !== 'tool') return { role: 'system', content: decodeText(message.content) };
  const param = `${at}.tool_call_id`;
  if (!callIds.has(message.tool_call_id)) {
    throw new ParameterError(
      'invalid_value',
      param,
      `Invalid value for '${param}': it answers no call of an earlier assistant message.`,
    );
  }
  return { role: 'tool', toolCallId: message.tool_call_id, content: decodeText(message.content) };
}

function decodeAssistant(message: WireAssistant, at: string): Extract<Message, { role: 'assistant' }> {
  for (const field of ['function_call', 'audio'] as const) {
    if (message[field] === undefined || message[field] === null) continue;
    const param = `${at}.${field}`;
    throw new GatewayError('unsupported_parameter', `Unsupported parameter: '${param}'.`, { param });
  }
  const toolCalls = (message.tool_calls ?? []).map(({ id, function: fn }) => ({
    id,
    name: fn.name,
    arguments: fn.arguments,
  }));
  const content = message.content ?? message.refusal ?? undefined;
  if (content === undefined && toolCalls.length === 0) {
    const param = `${at}.content`;
    throw new ParameterError(
      'missing_required_parameter',
      param,
      `Missing required parameter: '${param}'. It may be absent only where there are tool calls.`,
    );
  }
  const reasoning = message.reasoning_content ?? message.reasoning ?? undefined;
  return {
    role: 'assistant',
    content: content === undefined ? [] : decodeText(content),
    toolCalls,
    ...(reasoning !== undefined && { reasoning }),
  };
}

type WireText = string | readonly (z.output<typeof textPart> | z.output<typeof refusalPart>)[];

function decodeText(content: WireText): TextPart[] {
  if (typeof content === 'string') return [{ type: 'text', text: content }];
  return content.map((part) => ({ type: 'text', text: part.type === 'text' ? part.text : part.refusal }));
}

function decodeParts(content: z.output<typeof userMessage>['content'], at: string): (TextPart | ImagePart)[] {
  if (typeof content === 'string') return [{ type: 'text', text: content }];
  return content.map((part, index) =>
    part.type === 'text'
      ? { type: 'text', text: part.text }
      : decodeImage(part.image_url.url, `${at}[${index}].image_url.url`),
  );
}

export function decodeImage(url: string, param: string): ImagePart {
  if (/^https?:/i.test(url)) {
    throw new ParameterError(
      'unsupported_value',
      param,
      `Unsupported value for '${param}': images are not fetched; send a data: URI with base64.`,
    );
  }
  const image = parseDataUri(url);
  if (image) return image;
  throw new ParameterError(
    'invalid_value',
    param,
    `Invalid value for '${param}': expected data:image/…;base64,… with the image in base64.`,
  );
}
