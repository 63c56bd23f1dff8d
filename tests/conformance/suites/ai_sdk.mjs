// One thing done with one provider; what came of it goes to stdout as JSON.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, streamText, tool } from "ai";
import { z } from "zod";

const { ROOT, KEY, MODEL } = process.env;
const baseURL = `${ROOT}/v1`;
const [provider, what] = process.argv.slice(2);

const models = {
  compatible: () =>
    createOpenAICompatible({
      name: "worker",
      baseURL,
      apiKey: KEY,
      includeUsage: true,
      supportsStructuredOutputs: true,
    })(MODEL),
  "openai-chat": () => createOpenAI({ baseURL, apiKey: KEY }).chat(MODEL),
  "openai-responses": () => createOpenAI({ baseURL, apiKey: KEY }).responses(MODEL),
  anthropic: () => createAnthropic({ baseURL, apiKey: KEY })(MODEL),
};
const ask = {
  model: models[provider](),
  prompt: "What is the capital of France?",
  maxOutputTokens: 200,
  temperature: 0,
  maxRetries: 0,
};
const weather = tool({
  description: "The weather here",
  inputSchema: z.object({ unit: z.enum(["C", "F"]) }),
});
const city = z.object({ name: z.enum(["Paris", "Rome"]), size: z.enum(["small", "large"]) });

const does = {
  async text() {
    const { text, finishReason, usage } = await generateText(ask);
    return { text, finishReason, usage };
  },
  async stream() {
    const errors = [];
    const { textStream } = streamText({ ...ask, onError: ({ error }) => errors.push(`${error}`) });
    let text = "";
    for await (const piece of textStream) text += piece;
    return { text, errors };
  },
  async tools() {
    // A model this small does not know when it has called enough.
    const providerOptions = {
      worker: { parallel_tool_calls: false },
      openai: { parallelToolCalls: false },
      anthropic: { disableParallelToolUse: true },
    };
    const wanted = { ...ask, tools: { weather }, toolChoice: "required", providerOptions };
    const { toolCalls } = await generateText(wanted);
    const streamed = await streamText(wanted).toolCalls;
    return { calls: toolCalls, streamed };
  },
  async object() {
    const { output } = await generateText({ ...ask, output: Output.object({ schema: city }) });
    return { object: output };
  },
  async error() {
    try {
      await generateText(ask);
    } catch (error) {
      return { status: error.statusCode, message: error.message };
    }
    return { status: 200, message: "" };
  },
};

console.log(JSON.stringify(await does[what]()));
