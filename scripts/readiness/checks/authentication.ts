import { DEMO_KEYS } from '../../../src/core/demo-keys.ts';
import { describeAnswer, errorCodeOf, inventKey, orProblem, PERSISTED_ONLY } from '../answers.ts';
import { type Check, type Context, judge } from '../check.ts';
import type { Answer } from '../client.ts';
import { askBySocket, describeOutcome, FORBIDDEN } from '../socket.ts';

const NAME = '{ viewer { name } }';

/** Whether only keys that were given out get in, by each way that leads in. */
export const authentication: Check = {
  name: 'authentication',
  lookAt: 'the key given (npm run keys -- list); a 503 is the database; for published keys, SEED_DEMO_KEYS',
  async run(context) {
    const { options } = context;
    const unknown = inventKey();
    const problems = [
      ...(await expectRefusal(context, 'no key', null)),
      ...(await expectRefusal(context, 'an unknown key', unknown)),
      ...(await expectRefusal(context, 'what is no key', 'not-a-key')),
      ...(await expectEntry(context)),
      ...(await findPublished(context)),
    ];
    const isPublished = DEMO_KEYS.some(({ secret }) => secret === options.key);
    const note = isPublished
      ? '. The key given is a published one: whoever has read the documentation may use this'
      : '';
    return judge(
      problems,
      `no key and wrong keys are refused by REST, GraphQL and WebSocket, the right one gets in${note}`,
    );
  },
};

async function expectRefusal(
  { client }: Context,
  what: string,
  key: string | null,
): Promise<readonly string[]> {
  const describe = (name: string, answer: Answer | string) => {
    if (typeof answer === 'string') return [`${what} by ${name}: ${answer}`];
    if (answer.status !== 401) return [`${what} by ${name}: ${describeAnswer(answer)} instead of 401`];
    return answer.header('www-authenticate') ? [] : [`${what} by ${name}: no WWW-Authenticate`];
  };
  const [rest, graphql, socket] = await Promise.all([
    orProblem(client.ask('/v1/models', { key })),
    orProblem(client.ask('/graphql', { key, body: { query: NAME } })),
    askBySocket(client, key, NAME),
  ]);
  const isRefused = socket.kind === 'closed' && socket.code === FORBIDDEN;
  return [
    ...describe('REST', rest),
    ...describe('GraphQL', graphql),
    ...(isRefused
      ? []
      : [`${what} by WebSocket: ${describeOutcome(socket)} instead of a close with ${FORBIDDEN}`]),
  ];
}

async function expectEntry({ client, options }: Context): Promise<readonly string[]> {
  const [rest, graphql, socket] = await Promise.all([
    orProblem(client.ask('/v1/models')),
    orProblem(client.ask('/graphql', { body: { query: NAME } })),
    askBySocket(client, options.key, NAME),
  ]);
  const problems: string[] = [];
  const isIn = (answer: Answer | string) => typeof answer !== 'string' && answer.status === 200;
  const codeOf = (answer: Answer | string) =>
    typeof answer === 'string' ? undefined : errorCodeOf(answer.json);
  const say = (answer: Answer | string) => (typeof answer === 'string' ? answer : describeAnswer(answer));
  if (!isIn(rest)) problems.push(`the key given by REST: ${say(rest)}`);
  // The refusal of a document comes after that of a key.
  const isExecuted = isIn(graphql) || codeOf(graphql) === PERSISTED_ONLY;
  if (!isExecuted) problems.push(`the key given by GraphQL: ${say(graphql)}`);
  const isAnswered =
    socket.kind === 'result' || (socket.kind === 'refused' && socket.code === PERSISTED_ONLY);
  if (!isAnswered) problems.push(`the key given by WebSocket: ${describeOutcome(socket)}`);
  return problems;
}

/** The demo keys are in the documentation, so they are no secret anywhere. */
async function findPublished({ client, options }: Context): Promise<readonly string[]> {
  if (DEMO_KEYS.some(({ secret }) => secret === options.key)) return [];
  const open: string[] = [];
  for (const { secret, name } of DEMO_KEYS) {
    const answer = await orProblem(client.ask('/v1/models', { key: secret }));
    if (typeof answer !== 'string' && answer.status === 200) open.push(name);
  }
  return open.length > 0 ? [`published keys get in: ${open.join(', ')}`] : [];
}
