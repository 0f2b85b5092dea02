import { readFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { openTarget } from '../../agent/transfer/open-target.ts'
import { context, noise, watch } from './target-setup.ts'

/** Uploads what standard input asks for and prints the most memory this process had meanwhile, in MiB. */
const { config, secret, mib } = JSON.parse(await text(process.stdin))
const target = await openTarget(config, secret, context)
const sink = await target.put('large', { ...watch, replace: true })
const chunk = noise(2 ** 20)
for (let sent = 0; sent < mib; sent += 1) await sink.write(chunk)
await sink.finish()
await target[Symbol.asyncDispose]()
// Not getrusage: its maximum begins with what the parent had.
const peak = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))
process.stdout.write(String(Number(peak?.[1]) / 1024))
