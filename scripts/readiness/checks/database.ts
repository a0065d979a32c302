import { describeAnswer, inventKey, orProblem, PERSISTED_ONLY, query, runSome, tally } from '../answers.ts';
import { type Check, type Context, expectedReplicas, judge, skipped } from '../check.ts';
import { valueAt } from '../json.ts';

const REQUESTS = '{ requests(first: 100) { edges { node { requestId } } } }';
/** The ledger is written in batches, some time after a request's end. */
const LEDGER_PATIENCE_MS = 10_000;
const LOOK_EVERY_MS = 250;

/**
 * Whether every replica reaches the database. Keys in use are cached, so a key that nobody has ever seen is what shows
 * it: it has to be looked up. Whether rows are written shows in the ledger.
 */
export const database: Check = {
  name: 'database',
  lookAt:
    'PostgreSQL (docker compose ps postgres), DATABASE_URL, and "the database is down" in the log of the gateway',
  async run(context) {
    const { found } = context;
    const problems = [...(await lookUpUnknownKeys(context))];
    if (found.dependencies.get('database') === 'down') problems.push('/ready says that it is down');
    const ledger = await findInLedger(context);
    if (ledger.problem) problems.push(ledger.problem);
    const isEmbedded = found.dependencies.get('database') === 'embedded';
    if (isEmbedded && expectedReplicas(context) > 1)
      problems.push('a replica has an embedded database of its own');
    const verdict = judge(problems, `unknown keys are looked up; ${ledger.saw}`);
    return verdict.status === 'passed' && isEmbedded
      ? skipped('there is no PostgreSQL: the gateway has its embedded database, which is for one replica')
      : verdict;
  },
};

async function lookUpUnknownKeys(context: Context): Promise<readonly string[]> {
  const count = 3 * expectedReplicas(context);
  const answers = await runSome(count, () =>
    orProblem(context.client.ask('/v1/models', { key: inventKey() })),
  );
  const wrong = answers.flatMap((answer) => {
    if (typeof answer === 'string') return [answer];
    return answer.status === 401 ? [] : [describeAnswer(answer)];
  });
  return wrong.length > 0 ? [`of ${count} unknown keys, which deserve a 401: ${tally(wrong)}`] : [];
}

/** Looks until the answer that the deployment has just given is in its ledger. */
async function findInLedger({
  client,
  found,
}: Context): Promise<{ readonly saw: string; readonly problem?: string }> {
  const sought = found.answeredRequest;
  if (sought === undefined) return { saw: 'the ledger was not read, as no request has been answered' };
  const begun = performance.now();
  for (;;) {
    const { answer, data, errorCode } = await query(client, REQUESTS);
    const ms = Math.round(performance.now() - begun);
    if (errorCode === 'NOT_PERMITTED') return { saw: 'the ledger was not read, as the key lacks usage:read' };
    if (errorCode === PERSISTED_ONLY) {
      return { saw: 'the ledger was not read, as only persisted documents are accepted' };
    }
    if (answer.status !== 200 || errorCode !== undefined) {
      return { saw: '', problem: `the ledger cannot be read: ${errorCode ?? describeAnswer(answer)}` };
    }
    const edges = valueAt(data, 'requests', 'edges');
    const isThere =
      Array.isArray(edges) && edges.some((edge) => valueAt(edge, 'node', 'requestId') === sought);
    if (isThere) return { saw: `the completion is in the ledger, found after ${ms} ms` };
    if (ms > LEDGER_PATIENCE_MS)
      return { saw: '', problem: `the completion is not in the ledger after ${ms} ms` };
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}
