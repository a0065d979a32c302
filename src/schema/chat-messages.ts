import type { Message, TextPart } from '../domain/chat.ts';
import { parseDataUri } from '../domain/image.ts';
import { ArgumentError } from './errors.ts';
import type { ChatCompletionInput } from './types/chat-input.ts';

type MessageInput = (typeof ChatCompletionInput.$inferInput)['messages'][number];
type Part = MessageInput['content'][number];
type Role = MessageInput['role'];

/** Which parts each role can say. */
const PARTS = {
  system: ['text'],
  developer: ['text'],
  user: ['text', 'image'],
  assistant: ['text', 'reasoning', 'toolCall'],
  tool: ['toolResult'],
} as const satisfies Readonly<Record<Role, readonly (keyof Part)[]>>;

/** @throws ArgumentError that names the message and part at fault. */
export function decodeMessages(messages: readonly MessageInput[]): Message[] {
  if (messages.length === 0) {
    throw new ArgumentError('input.messages', 'input.messages must have at least one message.');
  }
  /** The calls that a tool message may answer. */
  const callIds = new Set<string>();
  return messages.map((message, index) => {
    const decoded = decodeMessage(message, `input.messages[${index}].content`);
    if (decoded.role === 'assistant') for (const { id } of decoded.toolCalls) callIds.add(id);
    if (decoded.role === 'tool' && !callIds.has(decoded.toolCallId)) {
      const path = `input.messages[${index}].content[0].toolResult.toolCallId`;
      throw new ArgumentError(path, `${path} names no tool call of an earlier message.`);
    }
    return decoded;
  });
}

function decodeMessage({ role, content }: MessageInput, path: string): Message {
  if (content.length === 0) throw new ArgumentError(path, `${path} must have at least one part.`);
  for (const [index, part] of content.entries()) checkPart(role, part, `${path}[${index}]`);
  switch (role) {
    case 'system':
    case 'developer':
      return { role: 'system', content: textParts(content) };
    case 'user':
      return { role, content: content.map((part, index) => decodeUserPart(part, `${path}[${index}]`)) };
    case 'assistant':
      return decodeAssistant(content, path);
    case 'tool':
      return decodeToolResult(content, path);
  }
}

function checkPart(role: Role, part: Part, path: string): void {
  const allowed: readonly string[] = PARTS[role];
  const kind = Object.keys(part)[0] ?? '';
  if (allowed.includes(kind)) return;
  const message = `${path} must be ${allowed.join(' or ')} in a message of ${role.toUpperCase()}.`;
  throw new ArgumentError(path, message);
}

function textParts(content: readonly Part[]): TextPart[] {
  return content.flatMap(({ text }) => (text === undefined ? [] : [{ type: 'text' as const, text }]));
}

function decodeUserPart(part: Part, path: string): Extract<Message, { role: 'user' }>['content'][number] {
  if (part.image === undefined) return { type: 'text', text: part.text ?? '' };
  const image = parseDataUri(part.image.url);
  if (image) return image;
  const message = `${path}.image.url must be data:image/…;base64,… with the image itself; nothing is fetched.`;
  throw new ArgumentError(`${path}.image.url`, message);
}

function decodeAssistant(content: readonly Part[], path: string): Message {
  const reasoning = content.flatMap((part) => part.reasoning ?? []).join('');
  const text = textParts(content);
  const toolCalls = content.flatMap(({ toolCall }, index) =>
    toolCall ? [decodeToolCall(toolCall, `${path}[${index}].toolCall`)] : [],
  );
  if (text.length === 0 && toolCalls.length === 0) {
    throw new ArgumentError(path, `${path} must have a text or a tool call.`);
  }
  return { role: 'assistant', content: text, toolCalls, ...(reasoning !== '' && { reasoning }) };
}

function decodeToolCall(call: NonNullable<Part['toolCall']>, path: string) {
  for (const field of ['id', 'name'] as const) {
    if (call[field] === '')
      throw new ArgumentError(`${path}.${field}`, `${path}.${field} must not be empty.`);
  }
  return { id: call.id, name: call.name, arguments: call.arguments };
}

function decodeToolResult(content: readonly Part[], path: string): Message {
  const result = content[0]?.toolResult;
  if (!result || content.length > 1) {
    throw new ArgumentError(path, `${path} must be one tool result: each has a message of its own.`);
  }
  return {
    role: 'tool',
    toolCallId: result.toolCallId,
    content: [{ type: 'text', text: result.content }],
  };
}
