type Branch<T> = Map<string, Branch<T> | T>;

/**
 * What there is one of for each combination of labels. It is looked up label by label, as a key joined of them would
 * have to be put together and hashed for every request.
 */
export class ByLabels<T extends object> {
  readonly #create: (values: readonly string[]) => T;
  readonly #root: Branch<T> = new Map();
  readonly #all: T[] = [];

  /** @param create called once for each combination, with its labels. */
  constructor(create: (values: readonly string[]) => T) {
    this.#create = create;
  }

  /** @param values of the labels, as many every time. */
  of(values: readonly string[]): T {
    let branch = this.#root;
    const last = values.length - 1;
    for (let at = 0; at < last; at++) {
      const value = values[at] ?? '';
      let next = branch.get(value) as Branch<T> | undefined;
      if (!next) {
        next = new Map();
        branch.set(value, next);
      }
      branch = next;
    }
    const value = values[last] ?? '';
    const known = branch.get(value) as T | undefined;
    if (known) return known;
    const created = this.#create(values);
    branch.set(value, created);
    this.#all.push(created);
    return created;
  }

  /** In the order in which they were asked for first. */
  [Symbol.iterator](): Iterator<T> {
    return this.#all[Symbol.iterator]();
  }
}
