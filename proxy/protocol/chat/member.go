package chat

// Member is a member of a request that the form has a place for. Each format has its
// own name for it, by which a customer is told of it.
type Member uint8

// The members.
const (
	MemberTemperature Member = iota
	MemberTopP
	MemberTopK
	MemberSeed
	MemberFrequency
	MemberPresence
	MemberStop
	MemberThinking
	MemberFormat
	MemberParallel
	MemberStrict
	MemberThought  // a thought of the history
	MemberRedacted // one that is not shown
	MemberCache
	MemberAudio
	MemberResultImage
	MemberResultFile
	MemberAnswers
	MemberLogprobs
	MemberTopLogprobs
	MemberLate   // a system text amid the conversation
	MemberChoice // how free the model is to call tools
	MemberLink   // a picture by its address
	MemberFile
	numMembers
)

// memberNames are the paths of the members, "" where a format has no such member.
var memberNames = [NumProtocols][numMembers]string{
	OpenAI: {
		MemberTemperature: "temperature", MemberTopP: "top_p", MemberTopK: "top_k", MemberSeed: "seed",
		MemberFrequency: "frequency_penalty", MemberPresence: "presence_penalty", MemberStop: "stop",
		MemberThinking: "reasoning_effort", MemberFormat: "response_format", MemberParallel: "parallel_tool_calls",
		MemberStrict: "tools[].function.strict", MemberThought: "messages[].reasoning_details", MemberRedacted: "messages[].reasoning_details",
		MemberCache: "messages[].content[].cache_control", MemberAudio: "messages[].content[].type=input_audio",
		MemberResultImage: "messages[].content[].type=image_url", MemberResultFile: "messages[].content[].type=file", MemberLate: "messages[].role",
		MemberAnswers: "n", MemberLogprobs: "logprobs", MemberTopLogprobs: "top_logprobs",
		MemberChoice: "tool_choice", MemberLink: "messages[].content[].type=image_url", MemberFile: "messages[].content[].type=file",
	},
	Messages: {
		MemberTemperature: "temperature", MemberTopP: "top_p", MemberTopK: "top_k", MemberStop: "stop_sequences",
		MemberThinking: "thinking", MemberFormat: "output_config", MemberParallel: "tool_choice.disable_parallel_tool_use",
		MemberStrict: "tools[].strict", MemberThought: "messages[].content[].type=thinking", MemberRedacted: "messages[].content[].type=redacted_thinking",
		MemberCache: "messages[].content[].cache_control", MemberResultImage: "messages[].content[].content[].type=image",
		MemberResultFile: "messages[].content[].content[].type=document", MemberLate: "messages[].role",
		MemberChoice: "tool_choice", MemberLink: "messages[].content[].type=image", MemberFile: "messages[].content[].type=document",
	},
	Responses: {
		MemberTemperature: "temperature", MemberTopP: "top_p", MemberThinking: "reasoning", MemberFormat: "text",
		MemberParallel: "parallel_tool_calls", MemberStrict: "tools[].strict", MemberThought: "input[].type=reasoning",
		MemberRedacted: "input[].type=reasoning", MemberResultImage: "input[].output[].type=input_image",
		MemberResultFile: "input[].output[].type=input_file", MemberLate: "input[].role", MemberChoice: "tool_choice",
		MemberLogprobs: "include", MemberTopLogprobs: "top_logprobs",
		MemberLink: "input[].content[].type=input_image", MemberFile: "input[].content[].type=input_file",
	},
	Gemini: {
		MemberTemperature: "generationConfig.temperature", MemberTopP: "generationConfig.topP", MemberTopK: "generationConfig.topK",
		MemberSeed: "generationConfig.seed", MemberFrequency: "generationConfig.frequencyPenalty", MemberPresence: "generationConfig.presencePenalty",
		MemberStop: "generationConfig.stopSequences", MemberThinking: "generationConfig.thinkingConfig", MemberFormat: "generationConfig.responseSchema",
		MemberThought: "contents[].parts[].thought", MemberRedacted: "contents[].parts[].thought",
		MemberAudio: "contents[].parts[].inlineData", MemberResultImage: "contents[].parts[].functionResponse.parts",
		MemberResultFile: "contents[].parts[].functionResponse.parts", MemberAnswers: "generationConfig.candidateCount",
		MemberLogprobs: "generationConfig.responseLogprobs", MemberTopLogprobs: "generationConfig.logprobs",
		MemberChoice: "toolConfig",
		MemberLink:   "contents[].parts[].fileData", MemberFile: "contents[].parts[].inlineData",
	},
	DashScope: {
		MemberTemperature: "parameters.temperature", MemberTopP: "parameters.top_p", MemberTopK: "parameters.top_k", MemberSeed: "parameters.seed",
		MemberFrequency: "parameters.frequency_penalty", MemberPresence: "parameters.presence_penalty", MemberStop: "parameters.stop",
		MemberThinking: "parameters.enable_thinking", MemberFormat: "parameters.response_format", MemberParallel: "parameters.parallel_tool_calls",
		MemberStrict: "parameters.tools[].function.strict", MemberThought: "input.messages[].reasoning_content", MemberRedacted: "input.messages[].reasoning_content",
		MemberCache: "input.messages[].content[].cache_control", MemberResultImage: "input.messages[].content[].image",
		MemberLate: "input.messages[].role", MemberAnswers: "parameters.n", MemberLogprobs: "parameters.logprobs", MemberTopLogprobs: "parameters.top_logprobs",
		MemberChoice: "parameters.tool_choice",
		MemberLink:   "input.messages[].content[].image", MemberFile: "input.messages[].content[].file",
	},
}

// Name is the path of a member in the format that the customer speaks.
func (r *Request) Name(m Member) string {
	if n := memberNames[r.From][m]; n != "" {
		return n
	}
	return memberNames[OpenAI][m]
}
