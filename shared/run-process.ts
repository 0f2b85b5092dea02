import { ConfigError } from './config.ts'
import { FleetError } from './errors.ts'
import { describeError } from './logger.ts'

/**
 * Runs a process from start to signal: starts it, and on SIGTERM or SIGINT disposes of it and exits 0. A configuration that
 * cannot be used is one message and exit code 2; a start that fails is 1, as is what cannot go on (`failed`); what was refused in
 * words for people is one line. A second signal ends it at once.
 */
export async function runProcess(
  start: () => Promise<AsyncDisposable & { readonly failed?: Promise<Error> }>,
): Promise<void> {
  const signalled = new Promise<void>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) {
      let seen = false
      process.on(name, () => {
        if (seen) process.exit(1)
        seen = true
        resolve()
      })
    }
  })
  try {
    const running = await start()
    const failure = await Promise.race([signalled, running.failed ?? signalled])
    await running[Symbol.asyncDispose]()
    if (failure instanceof Error) throw failure
    process.exit(0)
  } catch (error) {
    const isConfig = error instanceof ConfigError
    const isRefusal = error instanceof FleetError && error.code !== 'internal'
    console.error(isConfig || isRefusal ? error.message : describeError(error))
    process.exit(isConfig ? 2 : 1)
  }
}
