import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ERRORS, type ErrorCode, GatewayError } from '../../../src/domain/error.ts';
import { EXPOSED_HEADERS } from '../../../src/rest/headers.ts';
import {
  CHAT_REFUSALS,
  COMPLETION_REFUSALS,
  chatCompletionRequest,
  completionRequest,
  EMBEDDING_REFUSALS,
  embeddingRequest,
} from '../../../src/rest/openai/parameters.ts';
import { errorBody } from '../../../src/rest/openai/response-schema.ts';
import { RESPONSE_REFUSALS, responseRequest } from '../../../src/rest/openai/responses/parameters.ts';
import { type RestServer, startRestServer } from '../../support/rest-server.ts';

const page = readFileSync(join(import.meta.dirname, '../../../docs/openai.md'), 'utf8');

/** The rows of the table under a heading, each as its cells. */
function table(heading: string): string[][] {
  const section = page.split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  const rows = section.split('\n').filter((line) => line.startsWith('| '));
  return rows.slice(2).map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const unquoted = (cell: string | undefined) => (cell ?? '').replaceAll('`', '');

describe('docs/openai.md', () => {
  test.each([
    ['POST /v1/chat/completions', chatCompletionRequest, CHAT_REFUSALS],
    ['POST /v1/responses', responseRequest, RESPONSE_REFUSALS],
    ['POST /v1/completions', completionRequest, COMPLETION_REFUSALS],
    ['POST /v1/embeddings', embeddingRequest, EMBEDDING_REFUSALS],
  ])('has exactly the parameters of %s, with what becomes of them', (heading, schema, refusals) => {
    const fates = new Map(table(heading).map(([name, fate]) => [unquoted(name), fate]));
    const accepted = Object.keys(schema.shape);
    const refused = Object.keys(refusals);
    expect([...fates.keys()].sort()).toEqual([...accepted, ...refused].sort());
    for (const [name, fate] of fates) {
      expect([name, fate === 'refused']).toEqual([name, refused.includes(name)]);
      const described = Reflect.get(schema.shape, name)?.description ?? '';
      if (/^Without effect/.test(described)) expect([name, fate]).toEqual([name, 'no effect']);
      if (/^Extension/.test(described)) expect([name, fate]).toEqual([name, 'extension']);
      expect(fate).toMatch(/^(?:honoured|emulated|no effect|extension|refused)$/);
    }
  });

  test('names every header that callers may read', () => {
    const named = table('Headers').flatMap(([names]) => unquoted(names).split(', '));
    expect(named.sort()).toEqual(EXPOSED_HEADERS.split(', ').sort());
  });
});

describe('the table of errors', () => {
  let server: RestServer;
  beforeAll(async () => {
    server = await startRestServer();
  });
  afterAll(() => server.close());

  /** Nobody is there to read that the client has left. */
  const codes = (Object.keys(ERRORS) as ErrorCode[]).filter((code) => code !== 'client_closed');
  const rows = table('Errors').map(([status, type, code, again]) => ({ status, type, code, again }));

  test.each(codes)('has a row for %s, as it is answered', async (code) => {
    server.gateway.script = () => {
      throw new GatewayError(code, 'It failed.', { limit: 'tokens' });
    };
    const body = { model: 'llama3.1:8b', messages: [{ role: 'user', content: 'x' }] };
    const answer = await server.post('/v1/chat/completions', body);
    const { error } = errorBody.parse(await answer.json());
    const isRetried = answer.status === 429 || answer.status >= 500;
    const again = !isRetried ? '' : answer.headers.get('x-should-retry') === 'false' ? 'no' : 'yes';
    const fitting = rows.filter(
      (row) =>
        row.status === String(answer.status) &&
        unquoted(row.type).split(' or ').includes(error.type) &&
        unquoted(row.code).split(/,|\s/)[0] === String(error.code) &&
        row.again === again,
    );
    expect(fitting.length).toBeGreaterThanOrEqual(1);
  });

  test('has no row for what does not exist', () => {
    expect(rows).toHaveLength(codes.length);
  });
});
