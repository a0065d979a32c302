import { installCommandTools } from './commands.ts';
import { installNginx } from './nginx.ts';
import { sharePglite } from './pglite.ts';
import { sharePostgres } from './postgres.ts';
import { installPrometheus } from './prometheus.ts';
import { shareRedis } from './redis.ts';

/** What a whole test run shares. Each entry starts something, names it in `process.env`, and returns its end. */
export const SHARED: readonly (() => Promise<() => Promise<void>>)[] = [
  sharePostgres,
  sharePglite,
  shareRedis,
  installNginx,
  installPrometheus,
  installCommandTools,
];
