/** A model as the fleet knows it. */
export interface Model {
  /** With its tag, e.g. `llama3.1:8b`. */
  readonly id: string;
  readonly family?: string;
  /** As published, e.g. `8.0B`. */
  readonly parameterSize?: string;
  readonly quantization?: string;
  /** Longest context the model was trained for, in tokens. */
  readonly contextLength?: number;
  readonly embeddingLength?: number;
  readonly capabilities: readonly Capability[];
  /** `sha256` of the weights' manifest, in hex. */
  readonly digest?: string;
  readonly sizeBytes?: number;
  readonly modifiedAt?: Date;
}

export type Capability =
  | 'completion'
  | 'tools'
  | 'thinking'
  | 'vision'
  | 'embedding'
  | 'insert'
  | 'audio'
  | 'image';

/** One Ollama server as last seen. */
export interface Backend {
  /** A label for people and metrics (`ollama-1`), never an address. */
  readonly id: string;
  readonly healthy: boolean;
  /** Models installed, by id. */
  readonly models: ReadonlyMap<string, Model>;
  /** Ids of the models in memory now. */
  readonly loaded: ReadonlySet<string>;
  /** Requests of this replica that it is working on. */
  readonly inFlight: number;
}

/**
 * A model name as Ollama compares them: case-insensitive, `:latest` where there is no tag, without the default
 * registry and namespace.
 */
export function canonicalModelName(name: string): string {
  const bare = name
    .toLowerCase()
    .replace(/^registry\.ollama\.ai\//, '')
    .replace(/^library\//, '');
  return bare.lastIndexOf(':') > bare.lastIndexOf('/') ? bare : `${bare}:latest`;
}

/** Whether a model's id matches one of a key's globs (`*` is any run of characters). An empty list allows all. */
export function isModelAllowed(globs: readonly string[], model: string): boolean {
  if (globs.length === 0) return true;
  const name = canonicalModelName(model);
  return globs.some((glob) =>
    matchesGlob(glob.includes('*') ? glob.toLowerCase() : canonicalModelName(glob), name),
  );
}

/**
 * Whether one list of globs allows every model that another allows. A glob lies within another where that matches its
 * text: whatever its own `*` stands for is then part of what the other's `*` stands for.
 */
export function coversModels(globs: readonly string[], others: readonly string[]): boolean {
  if (globs.length === 0) return true;
  const covers = (other: string) =>
    other.includes('*')
      ? globs.some((glob) => matchesGlob(glob.toLowerCase(), other.toLowerCase()))
      : isModelAllowed(globs, other);
  return others.length > 0 && others.every(covers);
}

/** Greedy, with one point of return: at worst as many steps as the product of the lengths, whatever the pattern. */
function matchesGlob(glob: string, text: string): boolean {
  let g = 0;
  let t = 0;
  let star = -1;
  let resume = 0;
  while (t < text.length) {
    if (glob[g] === '*') {
      star = g++;
      resume = t;
    } else if (g < glob.length && glob[g] === text[t]) {
      g++;
      t++;
    } else if (star >= 0) {
      g = star + 1;
      t = ++resume;
    } else return false;
  }
  while (glob[g] === '*') g++;
  return g === glob.length;
}
