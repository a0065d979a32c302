import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** Of each member, in bytes. */
const SIZE = 8000;
const MEMBERS = 2000;

/**
 * Lets members come and go through a group that has been there for long, while young objects are collected.
 * @param module below `src`; what it exports is `loaded`.
 * @param group an expression with methods `add` and `delete`.
 * @returns of all that the members hold, the share that only a full collection would free.
 */
export async function keptOf({
  module,
  group,
}: {
  readonly module: string;
  readonly group: string;
}): Promise<number> {
  const program = `
    import { getHeapSpaceStatistics } from 'node:v8';
    import * as loaded from ${JSON.stringify(new URL(`../../src/${module}`, import.meta.url).href)};
    const collectYoung = () => { for (let i = 0; i < 2; i++) gc({ type: 'minor' }); };
    const oldBytes = () => getHeapSpaceStatistics().find((space) => space.space_name === 'old_space').space_used_size;
    const group = ${group};
    // One that is old by the time others come and it leaves.
    const inside = [{ payload: [] }];
    group.add(inside[0]);
    collectYoung();
    gc();
    const before = oldBytes();
    for (let i = 0; i < ${MEMBERS}; i++) {
      const member = { payload: new Array(${SIZE / 8}).fill(i) };
      group.add(member);
      inside.push(member);
      if (inside.length > 8) group.delete(inside.shift());
      if (i % 50 === 0) gc({ type: 'minor' });
    }
    collectYoung();
    process.stdout.write(String((oldBytes() - before) / ${MEMBERS * SIZE}));
  `;
  const args = ['--expose-gc', '--input-type=module', '--eval', program];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return Number(stdout);
}
