import { render } from "preact";
import { keepShell } from "./net/shell";
import { App } from "./view/app";
import "./view/styles/base.css";
import "./view/styles/rail.css";
import "./view/styles/conversation.css";
import "./view/styles/message.css";
import "./view/styles/sign-in.css";

const root = document.getElementById("app");
if (root === null) throw new Error("index.html has no element #app");
render(<App />, root);
if (import.meta.env.PROD) void keepShell();
