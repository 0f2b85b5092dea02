/**
 * `work`, one at a time. Who comes while it goes on makes it go once more, and waits for that: what they came for may lie behind its
 * last look.
 */
export function onceMore(work: () => Promise<void>): () => Promise<void> {
  let going: Promise<void> | undefined
  let isWanted = false

  return () => {
    isWanted = true
    going ??= (async () => {
      while (isWanted) {
        isWanted = false
        await work()
      }
    })().finally(() => {
      going = undefined
    })
    return going
  }
}
