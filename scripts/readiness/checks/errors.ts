import { errorBody } from '../../../src/rest/openai/response-schema.ts';
import { describeAnswer, findMismatch, orProblem } from '../answers.ts';
import { type Check, judge } from '../check.ts';
import type { Answer, Client } from '../client.ts';
import { valueAt } from '../json.ts';

/** What nobody but its sender should ever see again. */
const CANARY = 'canary-7c31f2';

/** What only those inside may know: stacks, files, addresses, the names of servers behind it, other servers' pages. */
const INSIDE = [
  /\n? +at \S+ \(/,
  /node_modules|\/src\/|\.(?:ts|js):\d+/,
  /\b(?:10|127|169\.254|172\.(?:1[6-9]|2\d|3[01])|192\.168)\.\d+\.\d+/,
  /ECONN[A-Z]+|ENOTFOUND|ETIMEDOUT/,
  /postgres|redis|:11434/i,
  /<html/i,
];

interface Failure {
  readonly name: string;
  readonly status: number;
  readonly ask: (client: Client) => Promise<Answer>;
  /** Absent: REST's own. */
  readonly findProblem?: (answer: Answer) => string | undefined;
}

const CHAT = '/v1/chat/completions';
const FAILURES: readonly Failure[] = [
  { name: 'an unknown path', status: 404, ask: (client) => client.ask(`/v1/${CANARY}`) },
  { name: 'a wrong method', status: 405, ask: (client) => client.ask('/v1/models', { method: 'DELETE' }) },
  { name: 'broken JSON', status: 400, ask: (client) => client.ask(CHAT, { body: `{"model": ${CANARY}` }) },
  { name: 'a missing field', status: 400, ask: (client) => client.ask(CHAT, { body: { user: CANARY } }) },
  {
    name: 'an unknown model',
    status: 404,
    ask: (client) =>
      client.ask(CHAT, {
        body: { model: 'no-such-model', messages: [{ role: 'user', content: CANARY }] },
      }),
  },
  {
    name: 'a broken GraphQL document',
    status: 400,
    ask: (client) =>
      client.ask('/graphql', {
        body: { query: '{ viewer { ', variables: { canary: CANARY } },
        headers: { accept: 'application/graphql-response+json' },
      }),
    findProblem: (answer) => {
      if (answer.status !== 400) return `${describeAnswer(answer)} instead of 400`;
      const code = valueAt(answer.json, 'errors', 0, 'extensions', 'code');
      return typeof code === 'string' ? undefined : 'an error without a code';
    },
  },
];

/** Whether failures have the shape that clients read, an id to ask about, and nothing in them that is nobody's business. */
export const errors: Check = {
  name: 'errors',
  lookAt: 'error_page and proxy_intercept_errors in nginx, which must leave the answers of the gateway alone',
  needsKey: true,
  async run({ client }) {
    const problems: string[] = [];
    const ids = new Set<string>();
    for (const { name, status, ask, findProblem } of FAILURES) {
      const answer = await orProblem(ask(client));
      if (typeof answer === 'string') {
        problems.push(`${name}: ${answer}`);
        continue;
      }
      const problem = findProblem ? findProblem(answer) : findMismatch(answer, status, errorBody);
      if (problem) problems.push(`${name}: ${problem}`);
      const requestIds = answer.values('x-request-id');
      if (requestIds.length !== 1) problems.push(`${name} has ${requestIds.length} x-request-id`);
      for (const id of requestIds) ids.add(id);
      if (tellsTooMuch(name, answer.text))
        problems.push(`${name} tells too much: ${answer.text.slice(0, 200)}`);
    }
    if (problems.length === 0 && ids.size < FAILURES.length) problems.push('request ids repeat');
    const names = FAILURES.map(({ name, status }) => `${name} ${status}`);
    return judge(
      problems,
      `masked, in the shape of the API and each with its own request id: ${names.join(', ')}`,
    );
  },
};

/** The path that was asked for may be repeated; content may not. */
function tellsTooMuch(name: string, text: string): boolean {
  return (
    INSIDE.some((pattern) => pattern.test(text)) || (name !== 'an unknown path' && text.includes(CANARY))
  );
}
