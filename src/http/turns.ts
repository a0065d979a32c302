/**
 * Lets those who come go on in their order, so many in each turn of the event loop and the others in the turns after
 * it. What arrives at the same time then keeps everybody else waiting for the work of a few, and not for all of it.
 */
export function createTurns(perTurn: number): (act: () => void) => void {
  const waiting: (() => void)[] = [];
  let isDue = false;
  const go = () => {
    for (const act of waiting.splice(0, perTurn)) act();
    isDue = waiting.length > 0;
    if (isDue) setImmediate(go);
  };
  return (act) => {
    waiting.push(act);
    if (isDue) return;
    isDue = true;
    setImmediate(go);
  };
}
