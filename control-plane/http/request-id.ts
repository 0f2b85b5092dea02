import { randomBytes } from 'node:crypto'

const GIVEN_ID = /^[A-Za-z0-9._-]{1,64}$/

/** Ids for log lines: the client's `X-Request-Id` where it is harmless, else unique to this process and counting up. */
export function createRequestIds(): (given: string | string[] | undefined) => string {
  const processId = randomBytes(4).toString('hex')
  let count = 0
  return (given) => {
    if (typeof given === 'string' && GIVEN_ID.test(given)) return given
    count += 1
    return `${processId}-${count}`
  }
}
