import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';

const ROOT = join(import.meta.dirname, '../../..');
const SUITE = 'tests/conformance/rest';
const FACADE = `${SUITE}/openai.test.ts`;
const SERVER = 'tests/system/rest-failures.test.ts';
const UNIT = 'tests/unit/rest';

/**
 * Every rule of OpenAI's API that this gateway keeps, and where it is tested: under its id, or under a title where it is
 * tested apart from the rules. What is under `SUITE` runs against the façade alone and against the whole server.
 */
const RULES: Readonly<Record<string, readonly [rule: string, file: string, title?: string]>> = {
  'OAI-01': ['answers: one message, finish reason, usage', `${SUITE}/chat-rules.ts`],
  'OAI-02': ['n', `${SUITE}/chat-rules.ts`],
  'OAI-03': ['null is absent', `${SUITE}/chat-rules.ts`],
  'OAI-04': ['JSON schema and the parse helper', `${SUITE}/chat-rules.ts`],
  'OAI-05': ['request id, processing time, content type', `${SUITE}/chat-rules.ts`],
  'OAI-06': ['roles and kinds of content', `${SUITE}/chat-rules.ts`],
  'OAI-07': ['absent keys stay absent', `${SUITE}/chat-rules.ts`],
  'OAI-08': ['log probabilities', `${SUITE}/chat-rules.ts`],
  'OAI-09': ['unknown fields', `${SUITE}/chat-rules.ts`],
  'OAI-10': ['role first, one finish reason', `${SUITE}/stream-rules.ts`],
  'OAI-11': ['same id, time and model on every chunk', `${SUITE}/stream-rules.ts`],
  'OAI-12': ['no usage unasked', `${SUITE}/stream-rules.ts`],
  'OAI-13': ['usage on one last chunk', `${SUITE}/stream-rules.ts`],
  'OAI-14': ['[DONE], headers, no other field than data', `${SUITE}/stream-rules.ts`],
  'OAI-15': ['stopping in the middle', `${SUITE}/stream-rules.ts`],
  'OAI-16': ['stream_options only with stream', `${SUITE}/stream-rules.ts`],
  'OAI-17': ['framing', `${SUITE}/stream-rules.ts`],
  'OAI-18': ['Accept does not decide', `${SUITE}/stream-rules.ts`],
  'OAI-19': ['the streaming helper', `${SUITE}/stream-rules.ts`],
  'OAI-20': ['a round of tools', `${SUITE}/tool-rules.ts`],
  'OAI-21': ['calls in a stream', `${SUITE}/tool-rules.ts`],
  'OAI-22': ['identity of calls', `${SUITE}/tool-rules.ts`],
  'OAI-23': ['orphaned results', `${SUITE}/tool-rules.ts`],
  'OAI-24': ['tool_choice none and named', `${SUITE}/tool-rules.ts`],
  'OAI-25': ['the tool runner', `${SUITE}/tool-rules.ts`],
  'OAI-30': ['base64 by default', `${SUITE}/resource-rules.ts`],
  'OAI-31': ['inputs that are refused', `${SUITE}/resource-rules.ts`],
  'OAI-32': ['the form of base64', `${SUITE}/resource-rules.ts`],
  'OAI-40': ['list and retrieve', `${SUITE}/resource-rules.ts`],
  'OAI-41': ['several prompts', `${SUITE}/resource-rules.ts`],
  'OAI-42': ['object name of completion chunks', `${SUITE}/resource-rules.ts`],
  'OAI-43': ['slashes in model names', `${SUITE}/resource-rules.ts`],
  'OAI-44': ['unknown models', `${SUITE}/resource-rules.ts`],
  'OAI-45': ['echo', `${SUITE}/resource-rules.ts`],
  'OAI-46': ['gaps', `${SUITE}/resource-rules.ts`],
  'OAI-50': ['AuthenticationError', `${SUITE}/refusal-rules.ts`],
  'OAI-51': ['NotFoundError, before a stream', `${SUITE}/refusal-rules.ts`],
  'OAI-52': ['unsupported parameters by name', `${SUITE}/refusal-rules.ts`],
  'OAI-53': ['image addresses', `${SUITE}/refusal-rules.ts`],
  'OAI-54': ['unknown routes', `${SUITE}/refusal-rules.ts`],
  'OAI-55': ['wrong methods', `${SUITE}/refusal-rules.ts`],
  'OAI-56': ['malformed JSON', `${SUITE}/refusal-rules.ts`],
  'OAI-57': ['deep nesting', `${SUITE}/refusal-rules.ts`],
  'OAI-58': ['one allowed origin', `${SUITE}/refusal-rules.ts`],
  'OAI-59': ['405, 413 and 415', `${SUITE}/refusal-rules.ts`],
  'OAI-64': ['preflights and exposed headers', `${SUITE}/refusal-rules.ts`],
  'OAI-60': ['retry after the time told', FACADE],
  'OAI-61': ['classes, and how often each is tried', FACADE],
  'OAI-62': ['errors within a stream', FACADE],
  'OAI-63': ['leaving frees everything', FACADE],
  'OAI-70': ['BadRequestError', SERVER],
  'OAI-71': ['unknown, expired and revoked alike', SERVER],
  'OAI-72': ['PermissionDeniedError', SERVER],
  'OAI-73': ['NotFoundError', SERVER],
  'OAI-74': ['InternalServerError and x-should-retry', SERVER],
  'OAI-75': ['errors after the first token', SERVER],
  'OAI-76': ['RateLimitError and retry-after', SERVER],
  'OAI-77': ['x-ratelimit formats', SERVER],
  'OAI-78': ['no retry where it is pointless', SERVER],
  'OAI-80': ['max_completion_tokens over max_tokens, length', SERVER],
  'OAI-81': ['16 tokens of a completion', SERVER],
  'OAI-82': ['stop', SERVER],
  'OAI-83': ['usage adds up, streamed or not', SERVER],
  'OAI-84': ['reasoning_content', SERVER],
  'OAI-85': ['aborts and break', SERVER],
  'OAI-86': ['client timeouts', SERVER],
  'OAI-90': ['every parameter is honoured …', `${UNIT}/request.test.ts`, 'honours or accepts: %s'],
  'OAI-91': ['… or refused by name', `${UNIT}/request.test.ts`, 'refuses and names: %s'],
  'OAI-92': ['X-Client-Request-Id', `${UNIT}/app.test.ts`, 'a sane request id is kept'],
  'OAI-93': [
    'early failures keep their status',
    `${UNIT}/streaming.test.ts`,
    'that fails before its first event',
  ],
  'OAI-94': ['pings in silence', `${UNIT}/streaming.test.ts`, 'gets its status and a ping'],
  'OAI-95': ['an error frame and no [DONE]', `${UNIT}/streaming.test.ts`, 'without [DONE]'],
  'OAI-96': ['slow readers', 'tests/system/rest-slow-reader.test.ts', 'clients that stop reading'],
  'OAI-97': ['one origin with a list, never credentials', `${UNIT}/cors.test.ts`, 'never with credentials'],
  'OAI-98': ['all four keys of every error', `${UNIT}/errors.test.ts`, 'has all four keys'],
  'OAI-99': [
    'docs/openai.md says what is so',
    `${UNIT}/documentation.test.ts`,
    'has exactly the parameters of',
  ],
  'OAI-100': ['responses: answers: text, usage, what was asked for', `${SUITE}/response-rules.ts`],
  'OAI-101': ['responses: items of every kind, and those of an answer', `${SUITE}/response-rules.ts`],
  'OAI-102': ['responses: JSON schema and the parse helper', `${SUITE}/response-rules.ts`],
  'OAI-103': ['responses: log probabilities', `${SUITE}/response-rules.ts`],
  'OAI-104': ['responses: numbered events, first and last', `${SUITE}/response-rules.ts`],
  'OAI-105': ['responses: named events, no [DONE]', `${SUITE}/response-rules.ts`],
  'OAI-106': ['responses: the streaming helper', `${SUITE}/response-rules.ts`],
  'OAI-107': ['responses: framing', `${SUITE}/response-rules.ts`],
  'OAI-108': ['responses: stopping in the middle', `${SUITE}/response-rules.ts`],
  'OAI-110': ['responses: a round of tools', `${SUITE}/response-rules.ts`],
  'OAI-111': ['responses: calls in a stream', `${SUITE}/response-rules.ts`],
  'OAI-112': ['responses: orphaned results', `${SUITE}/response-rules.ts`],
  'OAI-113': ['responses: nothing is stored', `${SUITE}/response-rules.ts`],
  'OAI-114': ['responses: fields by the names of the operation', `${SUITE}/response-rules.ts`],
  'OAI-115': [
    'responses: images in results',
    `${UNIT}/responses-request.test.ts`,
    'that are results may show images',
  ],
  'OAI-116': [
    'responses: a stream ends in the answer that is given in one piece',
    `${UNIT}/responses-stream.test.ts`,
    'is the same response in one piece and at the end of a stream',
  ],
};

describe('the list of rules', () => {
  test.each(Object.entries(RULES))('%s %j is tested where it says', (id, [, file, title]) => {
    expect(readFileSync(join(ROOT, file), 'utf8')).toContain(title ?? id);
  });

  test('has every id that a test uses', () => {
    const files = readdirSync(join(ROOT, 'tests'), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts') && !file.endsWith('rules.test.ts'))
      .map((file) => readFileSync(join(ROOT, 'tests', file), 'utf8'));
    const used = new Set(files.flatMap((text) => text.match(/OAI-\d{2,3}/g) ?? []));
    expect([...used].filter((id) => !Object.hasOwn(RULES, id))).toEqual([]);
  });
});
