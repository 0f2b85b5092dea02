import { connect } from 'node:net'
import { z } from 'zod'
import { endWithParent, readOptions, tellParent } from './options.ts'

/**
 * Many clients of a long poll, each with a connection of its own. Told to poll, each sends one request; when the last has its
 * answer, the parent is told when each had it, by the machine's monotonic clock in milliseconds.
 */
const { port, path, token, clients } = readOptions(
  z.object({ port: z.number(), path: z.string(), token: z.string().optional(), clients: z.number().int().positive() }),
)

const OPEN_AT_ONCE = 100
const END_OF_HEAD = '\r\n\r\n'

interface Answer {
  readonly atMs: number
  readonly cursor: string
}

endWithParent()
const authorization = token === undefined ? '' : `Authorization: Bearer ${token}\r\n`
/** Undefined while an answer is waited for. */
const answers: (Answer | undefined)[] = []
let missing = 0

function readAnswer(text: string): Answer | undefined {
  const head = text.indexOf(END_OF_HEAD)
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(text)?.[1]
  if (head < 0 || length === undefined || text.length < head + END_OF_HEAD.length + Number(length)) return undefined
  if (!text.startsWith('HTTP/1.1 200') || length === '2') throw new Error(text)
  return {
    atMs: Number(process.hrtime.bigint()) / 1e6,
    cursor: /\r\nx-progress-cursor: (\d+)\r\n/i.exec(text)?.[1] ?? '',
  }
}

/** @returns sends one poll. */
function open(client: number): Promise<() => void> {
  return new Promise((resolve, reject) => {
    let text = ''
    const socket = connect({ port, host: '127.0.0.1' })
    socket.setEncoding('latin1')
    const send = () => {
      const since = answers[client]?.cursor ?? ''
      answers[client] = undefined
      socket.write(
        `GET ${path}${since && `?since=${since}`} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${authorization}\r\n`,
      )
    }
    socket.once('connect', () => resolve(send))
    socket.on('data', (chunk: string) => {
      text += chunk
      const answer = readAnswer(text)
      if (answer === undefined) return
      text = ''
      answers[client] = answer
      missing -= 1
      if (missing === 0) tellParent(answers.map((one) => one?.atMs))
    })
    socket.on('error', reject)
    socket.on('close', () => process.exit(1))
  })
}

const senders: (() => void)[] = []
for (let first = 0; first < clients; first += OPEN_AT_ONCE) {
  const group = Array.from({ length: Math.min(OPEN_AT_ONCE, clients - first) }, (_, n) => open(first + n))
  senders.push(...(await Promise.all(group)))
}
process.on('message', () => {
  missing = clients
  for (const send of senders) send()
  tellParent('polling')
})
tellParent('ready')
