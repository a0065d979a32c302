import { health as healthBody } from '../../../src/rest/openai/response-schema.ts';
import { findMismatch, orProblem, runSome, tally } from '../answers.ts';
import { type Check, judge } from '../check.ts';

const LOOKS = 12;

/** Whether every replica that is met says that it lives, and that all are of one version. */
export const health: Check = {
  name: 'health',
  lookAt:
    'the log of the replica that does not answer; after an upgrade, whether all replicas were restarted',
  async run({ client, found }) {
    const problems: string[] = [];
    const versions = new Set<string>();
    const times: number[] = [];
    for (const answer of await runSome(LOOKS, () => orProblem(client.ask('/health', { key: null })))) {
      const problem = typeof answer === 'string' ? answer : findMismatch(answer, 200, healthBody);
      if (typeof answer === 'string' || problem !== undefined) {
        problems.push(problem ?? '');
        continue;
      }
      const { replica, version } = healthBody.parse(answer.json);
      found.replicas.add(replica);
      versions.add(version);
      times.push(answer.ms);
    }
    const wrong = problems.length > 0 ? [`of ${LOOKS} requests to /health: ${tally(problems)}`] : [];
    if (versions.size > 1) wrong.push(`replicas of several versions: ${[...versions].join(', ')}`);
    const slowest = Math.ceil(Math.max(...times));
    const names = [...found.replicas].sort().join(', ');
    return judge(
      wrong,
      `${LOOKS} of ${LOOKS} answers, in ${slowest} ms at most; version ${[...versions][0]} on ${names}`,
    );
  },
};
