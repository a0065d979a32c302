/** `deploy/kubernetes` as the files are, before kustomize has put anything together. */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';

export const MANIFESTS = join(import.meta.dirname, '../../deploy/kubernetes');

type Labels = Readonly<Record<string, string>>;

export interface LabelSelector {
  readonly matchLabels?: Labels;
  readonly matchExpressions?: readonly unknown[];
}

/** What the tests look at of an object of whatever kind. That it is one of its kind is what its schema says. */
export interface Manifest {
  /** From `deploy/kubernetes`. */
  readonly file: string;
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly labels?: Labels;
    readonly annotations?: Labels;
  };
  readonly spec: Readonly<Record<string, unknown>>;
  /** Of a Secret. */
  readonly stringData?: Labels;
}

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
}

interface EnvironmentSource {
  readonly name: string;
}

export interface Container {
  readonly image: string;
  readonly command?: readonly string[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly env?: readonly {
    readonly name: string;
    readonly valueFrom?: { readonly secretKeyRef?: { readonly name: string; readonly key: string } };
  }[];
  readonly envFrom?: readonly {
    readonly configMapRef?: EnvironmentSource;
    readonly secretRef?: EnvironmentSource;
  }[];
  readonly startupProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly lifecycle?: { readonly preStop: { readonly sleep: { readonly seconds: number } } };
  readonly securityContext?: Readonly<Record<string, unknown>>;
}

export interface PodTemplate {
  readonly metadata: { readonly labels: Labels };
  readonly spec: {
    readonly terminationGracePeriodSeconds?: number;
    readonly topologySpreadConstraints?: readonly { readonly labelSelector: LabelSelector }[];
    readonly automountServiceAccountToken?: boolean;
    readonly enableServiceLinks?: boolean;
    readonly serviceAccountName?: string;
    readonly securityContext?: Readonly<Record<string, unknown>>;
    readonly containers: readonly Container[];
  };
}

export interface Kustomization {
  readonly resources: readonly string[];
  readonly images?: readonly { readonly name: string; readonly newName: string; readonly newTag: string }[];
  readonly patches?: readonly { readonly path: string }[];
  readonly configMapGenerator?: readonly {
    readonly name: string;
    readonly envs?: readonly string[];
    readonly literals?: readonly string[];
  }[];
}

export function readText(file: string): string {
  return readFileSync(join(MANIFESTS, file), 'utf8');
}

/** What kustomizations are in, by their folders. */
export function readKustomizations(): ReadonlyMap<string, Kustomization> {
  const files = globSync('*/kustomization.yaml', { cwd: MANIFESTS });
  return new Map(files.map((file) => [dirname(file), parse(readText(file))]));
}

/** Every object, the example of a Secret included. */
export function readManifests(): readonly Manifest[] {
  const resources = [...readKustomizations()].flatMap(([folder, { resources }]) =>
    resources.filter((file) => file.endsWith('.yaml')).map((file) => join(folder, file)),
  );
  return [...resources, 'secret.example.yaml'].flatMap((file) =>
    parseAllDocuments(readText(file)).map((document) => ({ file, ...document.toJS() })),
  );
}

/** `gateway.env`, as kustomize reads it. */
export function readSettings(): Readonly<Record<string, string>> {
  const lines = readText('base/gateway.env')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(lines.map((line) => [line.split('=', 1)[0], line.slice(line.indexOf('=') + 1)]));
}
