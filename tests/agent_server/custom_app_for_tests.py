"""The own app of a test project; read as a file of that project."""

from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, WebSocket

events = []


@asynccontextmanager
async def lifespan(_app):
    events.append("began")
    yield {"made": "at the start"}
    events.append("ended")


app = FastAPI(lifespan=lifespan)


@app.middleware("http")
async def marked(request: Request, call_next):
    response = await call_next(request)
    response.headers["x-marked"] = request.scope.get("user").identity if request.scope.get("user") else "nobody"
    return response


@app.get("/own/hello/{name}")
async def hello(name: str, request: Request):
    user = request.scope.get("user")
    return {"hello": name, "made": request.state.made, "user": user.identity if user else None}


@app.post("/own/echo")
async def echo(request: Request):
    return {"body": (await request.body()).decode()}


@app.get("/info")
async def info():
    return {"mine": True}


@app.get("/own/teapot")
async def teapot():
    raise ZeroDivisionError


@app.exception_handler(ZeroDivisionError)
async def divided(_request, _error):
    from starlette.responses import JSONResponse

    return JSONResponse({"divided": True}, 418)


@app.websocket("/own/ws")
async def ws(websocket: WebSocket):
    await websocket.accept()
    await websocket.send_text("hi")
    await websocket.close()
