/** What is done to one zpool, by its name: two pools of an agent may lie on one. */
const tails = new Map<string, Promise<unknown>>()

/**
 * One after the other on a zpool: while one `zfs` makes a volume, another call that holds the pool's name lock makes udevd lose the
 * volume's link (it gives up on ERESTARTSYS). Orders are bounded by the agent's slots, and so is this queue.
 */
export function inTurn<Result>(pool: string, act: () => Promise<Result>): Promise<Result> {
  const before = tails.get(pool) ?? Promise.resolve()
  const result = before.then(act)
  const tail = result.catch(() => undefined)
  tails.set(pool, tail)
  void tail.then(() => {
    if (tails.get(pool) === tail) tails.delete(pool)
  })
  return result
}
