import { health } from '../../../src/rest/openai/response-schema.ts';
import { orProblem, runSome, tally } from '../answers.ts';
import { type Check, expectedReplicas, judge, skipped } from '../check.ts';

const REQUESTS_PER_REPLICA = 20;

/** Whether requests are really spread over the replicas: each has to get a fair part of them. */
export const loadBalancing: Check = {
  name: 'load balancing',
  lookAt:
    'the servers that nginx lists (nginx/upstreams), and whether each replica is up (docker compose ps)',
  async run(context) {
    const { client } = context;
    const expected = expectedReplicas(context);
    const count = REQUESTS_PER_REPLICA * expected;
    const shares = new Map<string, number>();
    const wrong: string[] = [];
    for (const answer of await runSome(count, () => orProblem(client.ask('/health', { key: null })))) {
      const body = typeof answer === 'string' ? undefined : health.safeParse(answer.json).data;
      if (body) shares.set(body.replica, (shares.get(body.replica) ?? 0) + 1);
      else wrong.push(typeof answer === 'string' ? answer : `status ${answer.status}`);
    }
    const seen = [...shares].sort().map(([replica, share]) => `${replica} ${share}`);
    const saw = `${count} requests: ${seen.join(', ')}`;
    const problems = wrong.length > 0 ? [`of ${count} requests: ${tally(wrong)}`] : [];
    if (shares.size < expected) problems.push(`${shares.size} of ${expected} replicas answer: ${saw}`);
    else if (Math.min(...shares.values()) < count / shares.size / 4)
      problems.push(`the spread is uneven: ${saw}`);
    if (problems.length === 0 && expected === 1 && shares.size === 1) {
      return skipped(`one replica answers (${saw}); with --replicas, as many are required`);
    }
    return judge(problems, saw);
  },
};
