/** A text that comes token by token: joined now and then, as short strings take many times the memory of their text. */
export class Pieces {
  #text = '';
  #latest: string[] = [];

  add(piece: string): void {
    this.#latest.push(piece);
    if (this.#latest.length === 1024) this.join();
  }

  join(): string {
    this.#text += this.#latest.join('');
    this.#latest = [];
    return this.#text;
  }
}
