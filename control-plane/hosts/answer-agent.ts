import type { Msg } from 'nats'
import { inboxPrefix } from '../../shared/wire/agent-permissions.ts'

/** Answers where the agent itself listens and nowhere else: the reply's subject is the asker's choice, the words would be ours. */
export function answerAgent(message: Msg, host: string, answer: object): void {
  if (message.reply?.startsWith(`${inboxPrefix(host)}.`)) message.respond(JSON.stringify(answer))
}
