import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startRedis } from '../../tests/support/redis.ts';
import type { AdmissionFigures } from '../load/admission.ts';
import { onMeasuredCore } from '../machine.ts';
import { orFailure, type Workload } from './workload.ts';

const NAME = 'admission';

/** The limiter alone, in a process of its own. */
export const admission: Workload = {
  name: NAME,
  about:
    'The limiter on Redis alone, 64 requests at a time, three limits each: a claim before the request, a settlement after ' +
    'it. CPU is that of the process that asks, round trips are what one claim alone sends to Redis.',
  async *run(bench) {
    const seconds = bench.quick ? 2 : 8;
    for (let round = 0; round < bench.rounds; round++) {
      bench.note(`${NAME}, round ${round + 1}`);
      const place = { workload: NAME, subject: 'gateway', turn: round };
      yield* await orFailure({ ...place, variant: 'all' }, async () => {
        await using opened = new AsyncDisposableStack();
        const redis = await startRedis();
        opened.defer(() => redis.close());
        const program = join(import.meta.dirname, '../load/admission.ts');
        const [file, ...args] = await onMeasuredCore([process.execPath, program, redis.url, String(seconds)]);
        const { stdout } = await promisify(execFile)(String(file), args);
        const figures: AdmissionFigures = JSON.parse(stdout);
        return Object.entries(figures).map(([variant, metrics]) => ({
          ...place,
          variant,
          metrics,
          errors: {},
        }));
      });
    }
  },
};
