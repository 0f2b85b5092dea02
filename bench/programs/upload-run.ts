import { open } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { openTarget } from '../../agent/transfer/open-target.ts'

/**
 * Uploads a file to a target by the agent's transfer library, in a process that does nothing else. Standard input holds `config`,
 * `secret`, `file` and `path`. Prints as JSON what it cost, from when the modules are loaded, as they are in an agent that runs:
 * it connects anew each time.
 */
const PIECE_BYTES = 2 ** 20
const asked = JSON.parse(await text(process.stdin))
const watch = { signal: new AbortController().signal }

/** As an archive is written: from memory that is used again, once a write has settled. */
async function upload() {
  const context = { backupRoot: '/nonexistent', addresses: { allowLoopback: true, listeners: [] } }
  await using target = await openTarget(asked.config, asked.secret, context)
  await using file = await open(asked.file)
  const sink = await target.put(asked.path, { ...watch, replace: true })
  const piece = Buffer.allocUnsafeSlow(PIECE_BYTES)
  for (;;) {
    const { bytesRead } = await file.read(piece)
    if (bytesRead === 0) return await sink.finish()
    await sink.write(piece.subarray(0, bytesRead))
  }
}

// Loads the protocol's modules.
await openTarget(asked.config, asked.secret, { backupRoot: '/', addresses: { allowLoopback: true, listeners: [] } })
const [startedMs, before] = [performance.now(), process.cpuUsage()]
const { verified } = await upload()
const wallMs = performance.now() - startedMs
const { user, system } = process.cpuUsage(before)
console.log(JSON.stringify({ wallMs, cpuMs: (user + system) / 1_000, verified }))
