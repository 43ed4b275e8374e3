/** HTTP over kept connections: what is timed is the server, not the making of connections. */

import { once } from 'node:events'
import { Agent, request } from 'node:http'

const agent = new Agent({ keepAlive: true })

/** The status and text of an answer; with a body, which is JSON, it is a POST. */
export async function ask(address, path, body, more = {}) {
  const headers = { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...more }
  const method = body === undefined ? 'GET' : 'POST'
  const sent = request(`http://${address}${path}`, { method, headers, agent })
  sent.end(body)
  const [answer] = await once(sent, 'response')
  let text = ''
  for await (const chunk of answer.setEncoding('utf8')) text += chunk
  return { status: answer.statusCode, text }
}
