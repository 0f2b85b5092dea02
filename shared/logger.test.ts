import test from 'ava'
import { pino } from 'pino'
import { DISCRETION } from './logger.ts'
import { redact } from './redact.ts'

function open() {
  const lines: string[] = []
  const logger = pino({ level: 'debug', ...DISCRETION }, { write: (line: string) => void lines.push(line) })
  return { logger, lines }
}

test('members named like secrets are hidden at any depth, in any spelling', (t) => {
  const { logger, lines } = open()
  const names = [
    'password',
    'newPassword',
    'pass_phrase_password',
    'token',
    'apiToken',
    'access_token',
    'clientSecret',
    'secret',
    'authorization',
    'Cookie',
    'set-cookie',
    'X-Auth-Token',
    'privateKey',
    'api_key',
    'seed',
    'jwt',
    'DATABASE_URL',
    'sec-websocket-protocol',
  ]
  for (const name of names) {
    logger.info({ event: 'x', [name]: 'hunter2', list: [{ deep: { [name]: { more: 'hunter2' } } }] })
  }
  t.is(lines.length, names.length)
  for (const [n, line] of lines.entries()) t.false(line.includes('hunter2'), names[n])
})

test('what only sounds like a secret stays', (t) => {
  const facts = { tokens: 3, hasPassword: true, secretId: null, subject: 'token:ci', tokenName: 'ci', keyId: 'ab' }
  t.deepEqual(redact({ ...facts }), facts)
})

test('what holds no secret is handed on as it is, without a copy', (t) => {
  const facts = { event: 'request', nested: { list: [1, { a: 'b' }] } }
  t.is(redact(facts), facts)
})

test('an error shows its message and causes, and nothing that was hung on it', (t) => {
  const { logger, lines } = open()
  const cause = Object.assign(new Error('inner'), { parameters: ['hunter2'] })
  const error = Object.assign(new Error('outer', { cause }), {
    code: '23505',
    parameters: ['hunter2'],
    detail: 'Key (hash)=(hunter2) already exists.',
    config: { headers: { authorization: 'hunter2' } },
  })
  logger.error({ event: 'x', err: error })
  t.false(lines.join().includes('hunter2'))
  t.like(JSON.parse(lines[0] ?? '').err, { message: 'outer: inner', code: '23505' })
})

test('a circle does not hang the logger', (t) => {
  const circle: Record<string, unknown> = { event: 'x' }
  circle.self = circle
  t.notThrows(() => redact(circle))
})
