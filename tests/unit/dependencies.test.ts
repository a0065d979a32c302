import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';

interface Manifest {
  readonly engines: { readonly node: string };
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}

interface LockedPackage {
  readonly version?: string;
  readonly resolved?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

interface Lock {
  readonly packages: Readonly<Record<string, LockedPackage>>;
}

const readText = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const manifest: Manifest = JSON.parse(readText('package.json'));
const lock: Lock = JSON.parse(readText('package-lock.json'));

/** The versions of a package anywhere in the tree. */
function versionsOf(name: string): readonly (string | undefined)[] {
  return Object.entries(lock.packages)
    .filter(([path]) => path.endsWith(`node_modules/${name}`))
    .map(([, { version }]) => version);
}

const majorOf = (version: string | undefined) => version?.match(/\d+/)?.[0];

describe('dependencies', () => {
  test('there is one graphql in the tree, of version 17: two of them reject each other’s schemas', () => {
    expect(versionsOf('graphql')).toEqual([expect.stringMatching(/^17\./)]);
  });

  test('everything that names a version of Node names the same one', () => {
    const node = manifest.dependencies['node'];
    expect(versionsOf('node')).toEqual([node]);
    expect(readText('.nvmrc').trim()).toBe(`v${node}`);
    expect(process.version).toBe(`v${node}`);
    expect(manifest.engines.node).toBe(`>=${majorOf(node)} <${Number(majorOf(node)) + 1}`);
    expect(majorOf(manifest.devDependencies['@types/node'])).toBe(majorOf(node));
  });

  test('every version is exact, and the one that is locked', () => {
    for (const [name, version] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
      expect([name, version]).toEqual([name, expect.stringMatching(/^\d+\.\d+\.\d+(-[\w.]+)?$/)]);
      expect([name, lock.packages[`node_modules/${name}`]?.version]).toEqual([name, version]);
    }
  });

  test('the lock file covers every platform, so that it installs on machines other than the one that wrote it', () => {
    const missing = Object.values(lock.packages)
      .flatMap(({ optionalDependencies }) => Object.keys(optionalDependencies ?? {}))
      .filter((name) => versionsOf(name).length === 0);
    expect(missing).toEqual([]);
  });

  test('the lock file names no registry: everybody installs from their own', () => {
    const resolved = Object.entries(lock.packages).filter(([, { resolved }]) => resolved !== undefined);
    expect(resolved).toEqual([]);
    expect(readText('package-lock.json')).not.toContain('"resolved"');
  });
});
